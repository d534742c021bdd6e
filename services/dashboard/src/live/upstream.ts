/** Following both logs as one operator: from now on, over restarts of the service, until nobody listens any more. */
import { setTimeout as sleep } from "node:timers/promises";
import { classify } from "@chom/shared/failure/failure";
import type { Services } from "../services.ts";
import { topicsOfEvent, topicsOfJob } from "./topics.ts";

export type Upstream = {
  /** `j<sequence in JOURNAL>.e<position in EVENTS>` of what was told last. */
  readonly position: () => string;
  readonly isConnected: () => boolean;
};

export type Listener = {
  readonly stale: (topics: readonly string[]) => void;
  /** Something may have been missed. */
  readonly missed: () => void;
  readonly connected: (isConnected: boolean) => void;
  /** The credential is no longer taken. */
  readonly refused: (code: string) => void;
};

type Log = {
  /** Undefined until something was told: then a cut may have hidden entries. */
  at: bigint | undefined;
  isOpen: boolean;
  readonly follow: (
    at: bigint | undefined,
  ) => AsyncIterable<{ at: bigint; topics: readonly string[] }>;
};

const longestPauseMs = 10_000;
/** A stream that stays open for so long without an error is there, though it has nothing to tell. */
const settledMs = 700;

async function* jobEntries(services: Services, at: bigint | undefined, signal: AbortSignal) {
  const wish = { family: "", name: "", siteId: "", types: [], stopAtEnd: false };
  const from = { fromNow: at === undefined, afterSequence: at ?? 0n };
  for await (const entry of services.jobs.watchJobs({ ...wish, ...from }, { signal })) {
    yield { at: entry.sequence, topics: topicsOfJob(entry) };
  }
}

async function* events(services: Services, at: bigint | undefined, signal: AbortSignal) {
  const wish = { types: [], aggregate: "", aggregateId: "", stopAtEnd: false };
  const from = { fromNow: at === undefined, afterPosition: at ?? 0n };
  for await (const { event } of services.events.subscribe({ ...wish, ...from }, { signal })) {
    if (event) yield { at: event.position, topics: topicsOfEvent(event) };
  }
}

/** Codes after which asking again with the same credential is of no use. */
const final = new Set(["unauthenticated", "not-permitted"]);

async function keepFollowing(
  log: Log,
  listener: Listener,
  changed: () => void,
  signal: AbortSignal,
) {
  for (let failures = 0; !signal.aborted; failures += 1) {
    const open = (isOpen: boolean) => {
      log.isOpen = isOpen;
      changed();
    };
    const settled = setTimeout(() => {
      open(true);
      // Nobody knows what happened while there was no stream to tell it.
      if (failures > 0 && log.at === undefined) listener.missed();
    }, settledMs);
    try {
      for await (const { at, topics } of log.follow(log.at)) {
        failures = 0;
        log.at = at;
        if (!log.isOpen) open(true);
        listener.stale(topics);
      }
    } catch (error) {
      const { code } = classify(error);
      if (final.has(code) && !signal.aborted) return listener.refused(code);
    } finally {
      clearTimeout(settled);
      if (!signal.aborted) open(false);
    }
    const pauseMs = Math.min(longestPauseMs, 250 * 2 ** Math.min(failures, 6));
    await sleep(pauseMs, undefined, { signal, ref: false }).catch(() => {});
  }
}

/** Begins to follow; ends when the signal aborts. */
export function followLogs(services: Services, listener: Listener, signal: AbortSignal): Upstream {
  const journal: Log = {
    ...{ at: undefined, isOpen: false },
    follow: (at) => jobEntries(services, at, signal),
  };
  const facts: Log = {
    ...{ at: undefined, isOpen: false },
    follow: (at) => events(services, at, signal),
  };
  let was = false;
  const isConnected = () => journal.isOpen && facts.isOpen;
  const changed = () => {
    if (isConnected() === was) return;
    was = isConnected();
    listener.connected(was);
  };
  for (const log of [journal, facts]) void keepFollowing(log, listener, changed, signal);
  return { position: () => `j${journal.at ?? 0n}.e${facts.at ?? 0n}`, isConnected };
}
