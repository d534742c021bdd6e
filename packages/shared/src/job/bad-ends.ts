/** Ending a job as failed or cancelled: first everything it did is taken back. */
import type { FailureInfo } from "@chom/proto/chom/jobs/v1/journal";
import { failureOf } from "../failure/failure.ts";
import { attemptMs } from "./engine.ts";
import { journalEvents } from "./journal-events.ts";
import { mustUndo } from "./job-state.ts";
import {
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

/** Takes back what was done, then ends the job as failed. The decision to fail is journaled before the first undo. */
export async function endFailed(
  settings: AttemptSettings,
  failure: FailureInfo,
  known: readonly PendingUndo[] = [],
): Promise<Next> {
  const { subject } = settings;
  const state = subject.journal.state();
  const giveUp = state.undoRuns > undoRunsMax;
  if (mustUndo(state) && !state.ending) await recordAttemptFailed(subject, failure, undefined);
  const undone = giveUp ? false : await undoAll(settings, known);
  await recordFailed(subject, failure, undone);
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
  const giveUp = journal.state().undoRuns > undoRunsMax;
  const undone = giveUp ? false : await undoAll(settings, known);
  await recordCancelled(subject, cancel);
  if (!undone) {
    engine.logger.error({ alert: true, jobId: journal.jobId }, "a cancelled job was not undone");
  }
  return { item: "done" };
}

/**
 * Gives up waiting for a `work` that does not heed its cancel. A newer JobStarted fences it: nothing that it still says is
 * recorded, and on a server the newer fence ends what it left running before anything is taken back.
 */
export async function escalate(settings: AttemptSettings): Promise<AttemptSettings> {
  const { subject, leaseKeys } = settings;
  const { engine, journal, startedSequence } = subject;
  const { attempts: attempt, generation, queued } = journal.state();
  await recordCancelAcknowledged(subject);
  const sequence = await journal.fact(startedSequence, [
    journalEvents.JobCancelEscalated({ reason: "the work did not stop within its time of grace" }),
    journalEvents.JobStarted({
      attempt,
      worker: engine.worker,
      generation,
      deadline: new Date(engine.clock.now().getTime() + attemptMs(engine, queued?.timeoutMs)),
      leaseKeys: [...leaseKeys],
      events: [],
    }),
  ]);
  engine.logger.warn({ jobId: journal.jobId }, "a cancelled job did not stop and was abandoned");
  const fence = `${await engine.log.epoch("JOURNAL")}.${sequence}`;
  return { ...settings, subject: { ...subject, startedSequence: sequence }, fence };
}
