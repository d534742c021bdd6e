/** Keeps one projection up to date: woken by hints, polling once a second, and stopping only for what needs a person. */
import { setTimeout as sleep } from "node:timers/promises";
import type { EventLog } from "../event-log/event-log.ts";
import { classify, type Failure, transient } from "../failure/failure.ts";
import type { Sealer } from "../secrets/sealer.ts";
import type { Logger } from "../telemetry/logger.ts";
import { eventFilter, journalFilter } from "../topology/subjects.ts";
import { applyBatch } from "./apply-batch.ts";
import { checkEpoch, checkEvent, checkPlace, loadCheckpoint, type Place } from "./checkpoint.ts";
import { checkpointTables } from "./checkpoint-tables.ts";
import type { Database } from "./database.ts";
import type { Projection } from "./projection.ts";

export type ProjectorOptions = {
  /** The service's name: its schema. */
  readonly service: string;
  readonly db: Database;
  readonly log: EventLog;
  readonly sealer: Sealer;
  readonly logger: Logger;
  /** Entries in one transaction; default 500. */
  readonly batch?: number;
  /** Default 1 s. */
  readonly pollMs?: number;
  /** A batch that takes longer is given up; the driver may never answer on a connection that was cut. Default 30 s. */
  readonly stepMaxMs?: number;
};

export type Projector = {
  readonly name: string;
  /** Up to which sequence of its stream the read model is; -1 before it is known. */
  readonly position: () => number;
  /** Why it stands still, when a person must act. */
  readonly failure: () => Failure | undefined;
  /** Waits until a position is in the read model; Failure `read-model-behind` after 2 s. */
  seen(position: number): Promise<void>;
  /** Ends after the batch under way. */
  stop(): Promise<void>;
};

const seenMaxMs = 2_000;
/** A checkpoint without events moves at least every so many entries of others. */
const idleStride = 1_000;
/** A replica of the stream may lag: a mismatch must be seen this often, a poll apart, to be believed. */
const mismatchesMin = 3;

/** One projection's steps: where it is, and what moves it on. */
function stepper(projection: Projection, options: ProjectorOptions, filter: string) {
  const { log, logger, batch = 500 } = options;
  const { stream } = projection.source;
  const keeping = { ...options, projection, tables: checkpointTables(options.service) };
  const state = { scanned: -1, checkpoint: -1, verified: false, mismatches: 0 };
  let place: Place = { sequence: 0, id: undefined };
  let failure: Failure | undefined;

  async function step(): Promise<boolean> {
    const at = await loadCheckpoint(keeping);
    if (at.sequence !== state.checkpoint) {
      state.checkpoint = at.sequence;
      state.scanned = at.sequence;
    }
    await checkEpoch(keeping, at);
    if (!state.verified) await checkEvent(keeping, at);
    if (place.sequence !== state.scanned) place = { sequence: state.scanned, id: undefined };
    place = await checkPlace(keeping, place);
    state.verified = true;
    state.mismatches = 0;
    failure = undefined;
    const { entries, lastSequence: to } = await log.read(stream, filter, state.scanned, batch);
    if (entries.length === 0 && to - at.sequence < idleStride) {
      state.scanned = to;
      return false;
    }
    if (!(await applyBatch(keeping, { entries, from: at.sequence, to }))) return false;
    state.checkpoint = to;
    state.scanned = to;
    return true;
  }

  function report(error: unknown): void {
    const found = classify(error);
    state.verified = false;
    state.mismatches += found.code === "checkpoint-mismatch" ? 1 : 0;
    if (state.mismatches < mismatchesMin) {
      logger.warn({ err: error, projection: projection.name }, "projecting failed, trying again");
    } else if (!failure) {
      failure = found;
      const alert = { alert: "projection-halted", code: found.code, projection: projection.name };
      logger.error({ ...alert, err: error }, "the projection stands still until a person acts");
    }
  }

  return {
    position: () => state.scanned,
    failure: () => failure,
    /** True when there may be more to do at once. */
    async next(): Promise<boolean> {
      try {
        return await withinMs(step(), options.stepMaxMs ?? 30_000);
      } catch (error) {
        report(error);
        return false;
      }
    },
  };
}

/** Starts projecting. Several replicas may do so at once: one is active at a time. */
export function startProjector(projection: Projection, options: ProjectorOptions): Projector {
  const { source } = projection;
  const filter =
    source.stream === "EVENTS" ? eventFilter(source.aggregate) : journalFilter(source.family);
  const alarm = wakeable();
  const steps = stepper(projection, options, filter);
  const stopping = new AbortController();
  const unhint = options.log.hint(source.stream, filter, alarm.wake);
  const done = (async () => {
    while (!stopping.signal.aborted)
      if (!(await steps.next())) await alarm.wait(options.pollMs ?? 1_000);
  })();

  return {
    name: projection.name,
    position: steps.position,
    failure: steps.failure,
    async seen(position) {
      const until = performance.now() + seenMaxMs;
      while (steps.position() < position) {
        if (performance.now() >= until) {
          throw transient("read-model-behind", `${projection.name} is behind position ${position}`);
        }
        alarm.wake();
        await sleep(20);
      }
    },
    async stop() {
      stopping.abort();
      unhint();
      alarm.wake();
      await done;
    },
  };
}

/** What is given up goes on by itself, but can do no harm: only who moves the checkpoint can commit rows. */
async function withinMs<T>(work: Promise<T>, ms: number): Promise<T> {
  const given = new AbortController();
  work.catch(() => undefined);
  try {
    return await Promise.race([
      work,
      sleep(ms, undefined, { signal: given.signal }).then(() => {
        throw transient("db-gone-away", `a step of the projection took more than ${ms} ms`);
      }),
    ]);
  } finally {
    given.abort();
  }
}

/** Waits that end early when somebody wakes them; a wake while nobody waits ends the next wait at once. */
function wakeable() {
  let pending = false;
  let resolve: (() => void) | undefined;
  return {
    wake() {
      pending = true;
      resolve?.();
    },
    async wait(ms: number): Promise<void> {
      if (!pending) {
        let timer: NodeJS.Timeout | undefined;
        await new Promise<void>((done) => {
          resolve = done;
          timer = setTimeout(done, ms);
        });
        clearTimeout(timer);
        resolve = undefined;
      }
      pending = false;
    },
  };
}
