/**
 * Keeping the journal small without losing anything: a journal that has ended is copied into the archive, and removed
 * from the broker once it is old enough and the copy is whole. Decisions here, effects through ports.
 */
import type { Entry } from "@chom/shared/event-log/event-log";
import { journalSubject } from "@chom/shared/topology/subjects";

export type JobPlace = { readonly tenant: string; readonly family: string; readonly jobId: string };

/** One archived journal. */
export type ArchivedJob = JobPlace & {
  /** Incarnation of the stream that it was read from. */
  readonly streamEpoch: number;
  readonly lastSequence: number;
  readonly entries: number;
  /** Time of its last entry: retention counts from here. */
  readonly endedAt: Date;
};

/** A journal that the read model says has ended, and the sequence of its last word. */
export type EndedJob = JobPlace & { readonly endedSequence: number };
type Cursor = { readonly streamEpoch: number; readonly endedSequence: number };

export type HistoryStore = {
  /** How far ended journals have been archived. */
  cursor(): Promise<Cursor>;
  moveCursor(to: Cursor): Promise<void>;
  /** Ended journals after a sequence, in order of their last words. */
  ended(after: number, limit: number): Promise<readonly EndedJob[]>;
  /** Entries and the fact that they are archived, both or none; repeating it changes nothing. */
  save(job: ArchivedJob, entries: readonly Entry[]): Promise<void>;
  /** Archived and not purged, ended before a time, not to be left alone now; oldest first. */
  due(endedBefore: Date, limit: number): Promise<readonly ArchivedJob[]>;
  markPurged(job: ArchivedJob): Promise<void>;
  /** Leave it alone until then. */
  lookAgain(job: ArchivedJob, at: Date): Promise<void>;
};

type Journals = {
  /** All entries of one journal; every acknowledged append is seen. */
  load(subject: string): Promise<readonly Entry[]>;
  epoch(): Promise<number>;
  /** Removes the entries of one journal up to a sequence, it included. Later ones stay. */
  purge(subject: string, through: number): Promise<void>;
};

export type HistoryPorts = {
  readonly store: HistoryStore;
  readonly journals: Journals;
  readonly now: () => Date;
};

const archiveBatch = 200;
const pruneBatch = 200;
const roundsMax = 500;
/** How long a journal that may not go yet is left alone. */
export const lookAgainMs = 6 * 3_600_000;

const ends: readonly string[] = ["JobCompleted", "JobSkipped", "JobFailed", "JobCancelled"];

/** How a journal ended: `done` for good, `failed` while somebody may still retry it; undefined while it goes on. */
export function endOf(entries: readonly Pick<Entry, "type">[]): "done" | "failed" | undefined {
  let end: "done" | "failed" | undefined;
  for (const { type } of entries) {
    const name = type.slice(type.lastIndexOf(".") + 1);
    if (name === "JobQueued" || name === "JobRetried") end = undefined;
    else if (name === "JobForgotten" && end) end = "done";
    else if (ends.includes(name)) end = name === "JobFailed" ? "failed" : "done";
  }
  return end;
}

type Move = "purge" | "mark" | "archive" | "later";

/** What to do with an archived journal that is old enough, seeing what the broker has of it. Pure. */
function pruneMove(job: ArchivedJob, entries: readonly Entry[], streamEpoch: number): Move {
  // Removed before, by somebody who died before saying so; or with its whole stream.
  if (entries.length === 0 || job.streamEpoch !== streamEpoch) return "mark";
  const end = endOf(entries);
  if (!end) return "later";
  const isWhole = entries.at(-1)?.sequence === job.lastSequence && entries.length === job.entries;
  if (!isWhole) return "archive";
  return end === "failed" ? "later" : "purge";
}

const subjectOf = ({ tenant, family, jobId }: JobPlace): string =>
  journalSubject(tenant, family, jobId);

const headOf = (
  { tenant, family, jobId }: JobPlace,
  entries: readonly Entry[],
  streamEpoch: number,
): ArchivedJob => {
  const last = entries.at(-1);
  const lastSequence = last?.sequence ?? 0;
  const endedAt = last?.time ?? new Date(0);
  return { tenant, family, jobId, streamEpoch, lastSequence, entries: entries.length, endedAt };
};

/** Archives every journal that has ended since the last time; answers how many. Crashing anywhere loses nothing. */
export async function archiveEnded({ store, journals }: HistoryPorts): Promise<number> {
  const streamEpoch = await journals.epoch();
  const cursor = await store.cursor();
  let after = cursor.streamEpoch === streamEpoch ? cursor.endedSequence : 0;
  let archived = 0;
  for (let round = 0; round < roundsMax; round += 1) {
    const found = await store.ended(after, archiveBatch);
    for (const job of found) {
      const entries = await journals.load(subjectOf(job));
      // Retried meanwhile: its next end comes later in the order.
      if (!endOf(entries)) continue;
      await store.save(headOf(job, entries, streamEpoch), entries);
      archived += 1;
    }
    const last = found.at(-1);
    if (last) {
      after = last.endedSequence;
      await store.moveCursor({ streamEpoch, endedSequence: after });
    }
    if (found.length < archiveBatch) break;
  }
  return archived;
}

/**
 * Removes journals whose ends are older than the retention; answers how many. What is not archived whole is archived
 * again first, a failed job stays until it is forgotten, and one that goes on is left alone.
 */
export async function pruneArchived(ports: HistoryPorts, retentionMs: number): Promise<number> {
  const { store, journals, now } = ports;
  const streamEpoch = await journals.epoch();
  let pruned = 0;
  for (let round = 0; round < roundsMax; round += 1) {
    const found = await store.due(new Date(now().getTime() - retentionMs), pruneBatch);
    for (const job of found) {
      const subject = subjectOf(job);
      const entries = await journals.load(subject);
      const move = pruneMove(job, entries, streamEpoch);
      if (move === "archive") await store.save(headOf(job, entries, streamEpoch), entries);
      if (move === "later") {
        await store.lookAgain(job, new Date(now().getTime() + lookAgainMs));
      }
      if (move === "purge") {
        await journals.purge(subject, job.lastSequence);
        pruned += 1;
      }
      if (move === "purge" || move === "mark") await store.markPurged(job);
    }
    if (found.length < pruneBatch) break;
  }
  return pruned;
}
