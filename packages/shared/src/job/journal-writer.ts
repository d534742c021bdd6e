/** One process's hold on one journal: what it says so far, and appending to it one after another. */
import type { NewEvent } from "../aggregate/event-types.ts";
import { encodeEvent } from "../event-log/codec.ts";
import type { Entry, NewEntry } from "../event-log/event-log.ts";
import { newerHistory } from "../event-log/newer.ts";
import { classify, permanent } from "../failure/failure.ts";
import { currentTraceparent } from "../telemetry/tracing.ts";
import { journalSubject } from "../topology/subjects.ts";
import type { Engine } from "./engine.ts";
import { foldJournal, type JobState, noJob } from "./job-state.ts";
import { journalEntryOf, type JournalEntry, readWhole } from "./journal.ts";

export type JournalWriter = {
  readonly tenant: string;
  readonly jobId: string;
  readonly subject: string;
  state(): JobState;
  /** The journal's first entry, when this process wrote it or was given it. */
  first(): Entry | undefined;
  /** An entry that only a newer release knows: nothing is appended behind it (Failure "newer-history"). */
  newer(): Entry | undefined;
  /** Reads what others appended. */
  refresh(): Promise<JobState>;
  /** Appends when nobody else has; Failure `conflict` "wrong-sequence" otherwise, after reading what they wrote. */
  request(events: readonly NewEvent[], as?: Authorship): Promise<number>;
  /**
   * Records what is a fact already: entries of others in between are absorbed and the append repeated. Failure
   * `permanent` "fenced" when a newer attempt than the one that began at `startedSequence`, or an end, is there.
   */
  fact(startedSequence: number, events: readonly NewEvent[]): Promise<number>;
};

export type Authorship = {
  readonly actor?: string;
  readonly ids?: readonly string[];
  readonly causationId?: string;
  readonly correlationId?: string;
};

const appendsMax = 50;

type Encoded = readonly { readonly event: NewEvent; readonly entry: NewEntry }[];

/** The journal's pages: reading and appending without any order of turns. */
function pagesOf(engine: Engine, tenant: string, jobId: string) {
  const subject = journalSubject(tenant, engine.family, jobId);
  let state = noJob;
  let first: Entry | undefined;
  let newer: Entry | undefined;
  async function read(): Promise<JobState> {
    const whole = await readWhole(engine, subject, state.sequence);
    newer ??= whole.newer;
    state = foldJournal(whole.entries, state);
    return state;
  }
  const encode = (events: readonly NewEvent[], as: Authorship = {}): Encoded =>
    events.map((event, index) => {
      const { queued } = state;
      const envelope = {
        subject,
        id: as.ids?.[index] ?? engine.newId(),
        time: engine.clock.now(),
        source: engine.family,
        actor: as.actor ?? queued?.actor ?? "system",
        causationId: as.causationId ?? jobId,
        correlationId: as.correlationId ?? queued?.correlationId ?? jobId,
        traceparent: currentTraceparent() || (queued?.traceparent ?? ""),
      };
      return { event, entry: encodeEvent(event, envelope, engine.sealer) };
    });
  async function append(encoded: Encoded): Promise<number> {
    if (newer) throw newerHistory(newer);
    const entries = encoded.map(({ entry }) => entry);
    const last = await engine.log.append("JOURNAL", subject, state.sequence, entries);
    const [only] = entries;
    if (state.sequence === 0 && only && entries.length === 1) first = { ...only, sequence: last };
    state = foldJournal(
      encoded.map(({ event, entry }): JournalEntry => {
        const meta = { ...entry, eventId: entry.id, tenant, id: jobId, position: last };
        // Only makers of `journalEvents` give these events.
        const { traceparent } = entry;
        return { name: event.name, data: event.data, meta, traceparent } as JournalEntry;
      }),
      state,
    );
    return last;
  }
  /** Takes the first entry as somebody told it. False when it is no such entry. */
  function begin(told: Entry): boolean {
    const entry = told.subject === subject ? journalEntryOf(engine.sealer, told) : undefined;
    if (entry?.name !== "JobQueued") return false;
    first = told;
    state = foldJournal([entry]);
    return true;
  }
  return {
    ...{ subject, begin, read, encode, append },
    ...{ state: () => state, first: () => first, newer: () => newer },
  };
}

const isConflict = (error: unknown): boolean => classify(error).code === "wrong-sequence";

/**
 * Opens a journal and reads it. It is not read when `told` says what it holds: "nothing", or its first entry. That may
 * be out of date; the first append then fails with "wrong-sequence", and has read what there is.
 */
export async function openJournal(
  engine: Engine,
  { tenant, jobId }: { tenant: string; jobId: string },
  told?: Entry | "nothing",
): Promise<JournalWriter> {
  const pages = pagesOf(engine, tenant, jobId);
  const { subject, state, first, newer, begin, read, encode, append } = pages;
  let line: Promise<unknown> = Promise.resolve();

  /** Appends and reads of one journal never overlap, so that the state is always that of its sequence. */
  function inLine<T>(turn: () => Promise<T>): Promise<T> {
    const mine = line.then(turn, turn);
    line = mine.catch(() => {});
    return mine;
  }
  async function request(events: readonly NewEvent[], as?: Authorship): Promise<number> {
    try {
      return await append(encode(events, as));
    } catch (error) {
      if (isConflict(error)) await read();
      throw error;
    }
  }
  async function fact(startedSequence: number, events: readonly NewEvent[]): Promise<number> {
    const encoded = encode(events);
    for (let times = 1; ; times += 1) {
      if (state().end || state().startedSequence > startedSequence) {
        throw permanent("fenced", `a newer attempt of job ${jobId} is under way, or it has ended`);
      }
      try {
        return await append(encoded);
      } catch (error) {
        if (!isConflict(error) || times >= appendsMax) throw error;
        await read();
      }
    }
  }
  if (told !== "nothing" && (told === undefined || !begin(told))) await read();
  return {
    tenant,
    jobId,
    subject,
    state,
    first,
    newer,
    refresh: () => inLine(read),
    request: (events, as) => inLine(() => request(events, as)),
    fact: (startedSequence, events) => inLine(() => fact(startedSequence, events)),
  };
}
