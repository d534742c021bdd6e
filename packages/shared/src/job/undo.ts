/** Taking back what a job did: finished steps in reverse, each journaled, also in another process than did them. */
import { classify, isPassing } from "../failure/failure.ts";
import { sleep } from "./clock.ts";
import { journalEvents } from "./journal-events.ts";
import { mustUndo } from "./job-state.ts";
import { infoOf, type Subject } from "./outcome-entries.ts";
import {
  isEndOfMemory,
  type PendingUndo,
  type RunSettings,
  startRun,
  undoingOf,
} from "./run-steps.ts";

const pausesMs = [1_000, 5_000];

/** Which undoable steps are still done, though not among these. */
const missed = (subject: Subject, undos: readonly PendingUndo[]): string[] => {
  const known = new Set(undos.map(({ step }) => step));
  const steps = [...subject.journal.state().steps];
  return steps.filter(([step, { undoable }]) => undoable && !known.has(step)).map(([step]) => step);
};

/** Enters `work` again in undo mode: remembered steps answer from the journal, the first other one stops. */
async function collect(subject: Subject, settings: RunSettings): Promise<readonly PendingUndo[]> {
  const { engine, job, input, journal } = subject;
  const { run, undos } = startRun({ ...settings, mode: "undo" });
  try {
    await job.work(input, run);
  } catch (error) {
    if (!isEndOfMemory(classify(error))) {
      engine.logger.warn({ err: error, jobId: journal.jobId }, "collecting undos ended early");
    }
  }
  return undos;
}

async function undoOne(
  subject: Subject,
  { undo, step }: PendingUndo,
  undoing: Parameters<PendingUndo["undo"]>[0],
): Promise<boolean> {
  const { engine, journal, startedSequence } = subject;
  for (let tries = 0; ; tries += 1) {
    undoing.signal.throwIfAborted();
    try {
      await undo(undoing);
      await journal.fact(startedSequence, [journalEvents.StepUndone({ step, failure: undefined })]);
      return true;
    } catch (error) {
      undoing.signal.throwIfAborted();
      const failure = classify(error);
      if (failure.code === "fenced") throw error;
      const pauseMs = pausesMs[tries];
      if (isPassing(failure) && pauseMs !== undefined) {
        await sleep(engine.clock, pauseMs, undoing.signal);
        continue;
      }
      const info = infoOf(failure, step);
      await journal.fact(startedSequence, [journalEvents.StepUndone({ step, failure: info })]);
      return false;
    }
  }
}

/**
 * Undoes what is done, newest first. True when nothing is left that a person must look at: every undo succeeded and
 * every step that has one was found. Throws when the run must stop (lost lease) or is fenced; then it is done again.
 */
export async function undoSteps(
  subject: Subject,
  settings: RunSettings,
  known: readonly PendingUndo[],
): Promise<boolean> {
  const { journal } = subject;
  if (!mustUndo(journal.state())) return !journal.state().undoFailed;
  const undos = missed(subject, known).length === 0 ? known : await collect(subject, settings);
  const lost = missed(subject, undos);
  const undoing = undoingOf(settings, settings.signal);
  const done = undos.filter(({ step }) => journal.state().steps.has(step));
  for (const pending of done.toReversed()) await undoOne(subject, pending, undoing);
  return lost.length === 0 && !journal.state().undoFailed;
}
