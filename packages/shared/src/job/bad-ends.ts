/** Ending a job as failed or cancelled: first everything it did is taken back. */
import type { FailureInfo } from "@chom/proto/chom/jobs/v1/journal";
import { failureOf } from "../failure/failure.ts";
import { attemptMs } from "./engine.ts";
import { journalEvents } from "./journal-events.ts";
import type { JournalWriter } from "./journal-writer.ts";
import { mustUndo } from "./job-state.ts";
import { endLeft } from "./left-behind.ts";
import {
  attemptFailedOf,
  recordAttemptFailed,
  recordCancelAcknowledged,
  recordCancelled,
  recordFailed,
} from "./outcome-entries.ts";
import { type AttemptSettings, runSettingsOf } from "./run-settings.ts";
import type { PendingUndo } from "./run-steps.ts";
import { undoSteps } from "./undo.ts";

const undoAtLeastMs = 60_000;

/** What becomes of the work item. */
export type Next = { readonly item: "done" } | { readonly item: "again"; readonly at: Date };

/** Undoes under a time limit of its own: what must be taken back may take as long as an attempt. */
async function undoAll(settings: AttemptSettings, known: readonly PendingUndo[]): Promise<boolean> {
  const { subject, hold } = settings;
  const { engine, journal } = subject;
  const own = new AbortController();
  const onLost = () => own.abort(hold.signal.reason);
  hold.signal.addEventListener("abort", onLost, { once: true });
  if (hold.signal.aborted) onLost();
  const limitMs = Math.max(Number(journal.state().queued?.timeoutMs ?? 0n), undoAtLeastMs);
  const cancelTimeout = engine.clock.after(limitMs, () =>
    own.abort(failureOf("attempt-timeout", "undoing took too long")),
  );
  try {
    return await undoSteps(subject, runSettingsOf(settings, own.signal, "undo"), known);
  } finally {
    cancelTimeout();
    hold.signal.removeEventListener("abort", onLost);
  }
}

/** Runs that began only to undo and did not get through; after these a person must look. */
const undoRunsMax = 3;

/**
 * Ends what runs on servers before anything is taken back there, then takes back. Answers whether all was; what may still
 * run stays in `openServers`.
 */
async function cleanUp(settings: AttemptSettings, known: readonly PendingUndo[]): Promise<boolean> {
  const { engine, journal, openServers } = settings.subject;
  const giveUp = journal.state().undoRuns > undoRunsMax;
  if (!giveUp) await endLeft(settings, true);
  const undone = giveUp ? false : await undoAll(settings, known);
  // An undo may have been cut, or a server may have come back meanwhile.
  if (!giveUp) await endLeft(settings, false);
  if (openServers.size > 0) {
    const facts = { alert: true, jobId: journal.jobId, serverIds: [...openServers] };
    engine.logger.error(facts, "a job ends while a script of it may still run, fenced");
  }
  return undone;
}

/** Takes back what was done, then ends the job as failed. The decision to fail is journaled before the first undo. */
export async function endFailed(
  settings: AttemptSettings,
  failure: FailureInfo,
  known: readonly PendingUndo[] = [],
): Promise<Next> {
  const { subject } = settings;
  const state = subject.journal.state();
  let owning = settings;
  if (!state.ending && subject.openServers.size > 0) {
    owning = await startAnew(settings, [attemptFailedOf(subject, failure, undefined)]);
  } else if (!state.ending && mustUndo(state)) {
    await recordAttemptFailed(subject, failure, undefined);
  }
  const undone = await cleanUp(owning, known);
  await recordFailed(owning.subject, failure, undone);
  return { item: "done" };
}

/** Takes back what was done, then ends the job as cancelled. */
export async function endCancelled(
  settings: AttemptSettings,
  cancel: { reason: string; actor: string },
  known: readonly PendingUndo[] = [],
): Promise<Next> {
  const { subject } = settings;
  const { engine, journal } = subject;
  await recordCancelAcknowledged(subject);
  const undone = await cleanUp(settings, known);
  await recordCancelled(subject, cancel);
  if (!undone) {
    engine.logger.error({ alert: true, jobId: journal.jobId }, "a cancelled job was not undone");
  }
  return { item: "done" };
}

/**
 * The same attempt under a newer JobStarted, in one append with what led to it: nothing that the older one still says is
 * recorded, and on a server the newer fence ends what it left running and refuses what it sent.
 */
async function startAnew(
  settings: AttemptSettings,
  entries: Parameters<JournalWriter["fact"]>[1],
): Promise<AttemptSettings> {
  const { subject, leaseKeys } = settings;
  const { engine, journal, startedSequence } = subject;
  const { attempts: attempt, generation, queued } = journal.state();
  const sequence = await journal.fact(startedSequence, [
    ...entries,
    journalEvents.JobStarted({
      attempt,
      worker: engine.worker,
      generation,
      deadline: new Date(engine.clock.now().getTime() + attemptMs(engine, queued?.timeoutMs)),
      leaseKeys: [...leaseKeys],
      events: [],
    }),
  ]);
  const fence = `${await engine.log.epoch("JOURNAL")}.${sequence}`;
  return { ...settings, subject: { ...subject, startedSequence: sequence }, fence };
}

/**
 * Fences what a cancel leaves behind: a `work` that does not heed it and is not waited for any longer, or scripts whose end
 * on their servers is not known. The servers are told, so that a worker that comes later ends them there too.
 */
export async function escalate(
  settings: AttemptSettings,
  isDeaf: boolean,
): Promise<AttemptSettings> {
  const { engine, journal, openServers } = settings.subject;
  await recordCancelAcknowledged(settings.subject);
  const reason = isDeaf
    ? "the work did not stop within its time of grace"
    : "the end of a script on its server is not known";
  const openServerIds = [...openServers];
  const owning = await startAnew(settings, [
    journalEvents.JobCancelEscalated({ reason, openServerIds }),
  ]);
  engine.logger.warn({ jobId: journal.jobId, reason }, "a cancel was escalated");
  return owning;
}
