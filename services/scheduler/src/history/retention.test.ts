import type { Entry } from "@chom/shared/event-log/event-log";
import { journalSubject } from "@chom/shared/topology/subjects";
import fc from "fast-check";
import { expect, test } from "vitest";
import {
  type ArchivedJob,
  archiveEnded,
  endOf,
  type EndedJob,
  type HistoryPorts,
  lookAgainMs,
  pruneArchived,
} from "./retention.ts";

const hourMs = 3_600_000;
const retentionMs = 30 * 24 * hourMs;
const jobIds = ["a", "b", "c"];

class Crash extends Error {}

/** A broker, an archive and a read model in memory. Any call may be the last of its process, before or after its effect. */
function world() {
  let nowMs = 1_000_000_000_000;
  let sequence = 0;
  let journal: Entry[] = [];
  /** Everything that was ever written, as the oracle remembers it. */
  const written: Entry[] = [];
  const archive = new Map<string, Entry>();
  const heads = new Map<string, ArchivedJob & { purged: boolean; lookAgainAt: number }>();
  const ended = new Map<string, EndedJob>();
  let cursor = { streamEpoch: 0, endedSequence: 0 };
  let callsLeft = Number.POSITIVE_INFINITY;

  const mortal = async <T>(effect: () => T): Promise<T> => {
    callsLeft -= 1;
    if (callsLeft < 0) throw new Crash("before");
    const answer = effect();
    callsLeft -= 1;
    if (callsLeft < 0) throw new Crash("after");
    return answer;
  };
  const subjectOf = (jobId: string) => journalSubject("acme", "ssl", jobId);
  const of = (jobId: string) => journal.filter(({ subject }) => subject === subjectOf(jobId));

  /** What a family does. */
  function write(jobId: string, name: string): void {
    sequence += 1;
    const rest = { source: "ssl", actor: "a", causationId: "", correlationId: "", traceparent: "" };
    const place = { subject: subjectOf(jobId), id: `e${sequence}`, sequence };
    const entry: Entry = {
      ...{ ...place, ...rest, type: `chom.jobs.v1.${name}`, body: "{}", time: new Date(nowMs) },
    };
    journal.push(entry);
    written.push(entry);
    // The read model: where a journal that has ended has its last word.
    if (endOf(of(jobId))) {
      ended.set(jobId, { tenant: "acme", family: "ssl", jobId, endedSequence: sequence });
    } else ended.delete(jobId);
  }

  const ports: HistoryPorts = {
    now: () => new Date(nowMs),
    journals: {
      load: (subject) => mortal(() => journal.filter((entry) => entry.subject === subject)),
      epoch: () => mortal(() => 7),
      purge: (subject, through) =>
        mortal(() => {
          journal = journal.filter(
            (entry) => entry.subject !== subject || entry.sequence > through,
          );
        }),
    },
    store: {
      cursor: () => mortal(() => cursor),
      moveCursor: (to) =>
        mortal(() => {
          cursor = to;
        }),
      ended: (after, limit) =>
        mortal(() =>
          [...ended.values()]
            .filter(({ endedSequence }) => endedSequence > after)
            .toSorted((left, right) => left.endedSequence - right.endedSequence)
            .slice(0, limit),
        ),
      save: (job, entries) =>
        mortal(() => {
          for (const entry of entries) archive.set(entry.id, entry);
          heads.set(job.jobId, { ...job, purged: false, lookAgainAt: 0 });
        }),
      due: (before, limit) =>
        mortal(() =>
          [...heads.values()]
            .filter((head) => !head.purged && head.endedAt < before && head.lookAgainAt < nowMs)
            .slice(0, limit),
        ),
      markPurged: (job) =>
        mortal(() => void heads.set(job.jobId, { ...job, purged: true, lookAgainAt: 0 })),
      lookAgain: (job, at) =>
        mortal(() => void heads.set(job.jobId, { ...job, purged: false, lookAgainAt: +at })),
    },
  };

  return {
    ports,
    write,
    of,
    written,
    stateOf: (jobId: string) => ({ entries: of(jobId), end: endOf(of(jobId)) }),
    pass: (ms: number) => {
      nowMs += ms;
    },
    /** Runs with so many port calls to live; a crash is what a crash is. */
    async mortally(calls: number, run: () => Promise<unknown>): Promise<void> {
      callsLeft = calls;
      try {
        await run();
      } catch (error) {
        if (!(error instanceof Crash)) throw error;
      }
      callsLeft = Number.POSITIVE_INFINITY;
    },
    /** Nothing that was ever written is in neither place. */
    lost: () => {
      const inBroker = new Set(journal.map(({ id }) => id));
      return written.filter(({ id }) => !inBroker.has(id) && !archive.has(id));
    },
  };
}

type Step =
  | { do: "dispatch" | "complete" | "fail" | "retry" | "forget" | "step"; job: string }
  | { do: "archive" | "prune"; calls: number }
  | { do: "pass"; hours: number };

const job = fc.constantFrom(...jobIds);
const calls = fc.oneof(fc.constant(1_000_000), fc.nat({ max: 25 }));
const steps = fc.array(
  fc.oneof(
    fc.record({
      do: fc.constantFrom("dispatch", "complete", "fail", "retry", "forget", "step"),
      job,
    }),
    fc.record({ do: fc.constantFrom("archive", "prune"), calls }),
    fc.record({ do: fc.constant("pass"), hours: fc.constantFrom(1, 24, 24 * 29, 24 * 31) }),
  ),
  { maxLength: 60 },
) as fc.Arbitrary<Step[]>;

type World = ReturnType<typeof world>;

/** What a family does with a job in this state; nothing where the state forbids it. */
function act({ stateOf, write }: World, wish: string, jobId: string): void {
  const { entries, end } = stateOf(jobId);
  const open = entries.length > 0 && end === undefined;
  if (wish === "dispatch" && entries.length === 0) write(jobId, "JobQueued");
  if (wish === "step" && open) write(jobId, "StepCompleted");
  if (wish === "complete" && open) write(jobId, "JobCompleted");
  if (wish === "fail" && open) write(jobId, "JobFailed");
  if (wish === "retry" && end === "failed") write(jobId, "JobRetried");
  if (wish === "forget" && end === "failed") write(jobId, "JobForgotten");
}

/** The oracle's own reading of a history: when its job was over for good, if it is. */
function overSince(entries: readonly Entry[]): number | undefined {
  const last = entries.at(-1);
  const name = last?.type.split(".").at(-1);
  const isOver = name === "JobCompleted" || name === "JobForgotten";
  return last && isOver ? last.time.getTime() : undefined;
}

test("whatever happens, no entry is lost, open jobs keep their journals, and old ones leave the broker", () =>
  fc.assert(
    fc.asyncProperty(steps, async (plan) => {
      const it = world();
      for (const step of plan) {
        const before = new Map(jobIds.map((jobId) => [jobId, it.of(jobId)]));
        if (step.do === "pass") it.pass(step.hours * hourMs);
        else if (step.do === "archive") {
          await it.mortally(step.calls, () => archiveEnded(it.ports));
        } else if (step.do === "prune") {
          await it.mortally(step.calls, () => pruneArchived(it.ports, retentionMs));
          for (const [jobId, entries] of before) {
            const since = overSince(entries);
            const mayGo = since !== undefined && +it.ports.now() - since > retentionMs;
            if (!mayGo) expect(it.of(jobId)).toEqual(entries);
          }
        } else if ("job" in step) act(it, step.do, step.job);
        expect(it.lost()).toEqual([]);
      }
      // The store cannot wedge: with time and without crashes everything that is over leaves.
      for (let round = 0; round < 3; round += 1) {
        it.pass(retentionMs + lookAgainMs + hourMs);
        await archiveEnded(it.ports);
        await pruneArchived(it.ports, retentionMs);
      }
      for (const jobId of jobIds) {
        if (overSince(it.of(jobId)) !== undefined) expect(it.of(jobId)).toEqual([]);
      }
      expect(it.lost()).toEqual([]);
    }),
    { numRuns: 400 },
  ));

test("a journal that was not archived is never purged", async () => {
  const it = world();
  it.write("a", "JobQueued");
  it.write("a", "JobCompleted");
  it.pass(10 * retentionMs);
  expect(await pruneArchived(it.ports, retentionMs)).toBe(0);
  expect(it.of("a")).toHaveLength(2);
});

test("a job retried after it was archived keeps its journal, and is archived again at its next end", async () => {
  const it = world();
  for (const name of ["JobQueued", "JobFailed"]) it.write("a", name);
  await archiveEnded(it.ports);
  it.write("a", "JobRetried");
  it.pass(2 * retentionMs);
  expect(await pruneArchived(it.ports, retentionMs)).toBe(0);
  expect(it.of("a")).toHaveLength(3);
  it.write("a", "JobCompleted");
  expect(await archiveEnded(it.ports)).toBe(1);
  it.pass(retentionMs + hourMs);
  expect(await pruneArchived(it.ports, retentionMs)).toBe(1);
  expect(it.of("a")).toEqual([]);
  expect(it.lost()).toEqual([]);
});

test("a failed job stays until somebody forgets it", async () => {
  const it = world();
  for (const name of ["JobQueued", "JobFailed"]) it.write("a", name);
  await archiveEnded(it.ports);
  it.pass(5 * retentionMs);
  expect(await pruneArchived(it.ports, retentionMs)).toBe(0);
  it.write("a", "JobForgotten");
  await archiveEnded(it.ports);
  it.pass(retentionMs + hourMs);
  expect(await pruneArchived(it.ports, retentionMs)).toBe(1);
});
