/** One attempt: runs `work` under its time limit and its leases, and records how it ended. */
import type { FailureInfo } from "@chom/proto/chom/jobs/v1/journal";
import { hashId } from "../aggregate/id.ts";
import { handleCommand } from "../event-log/aggregates.ts";
import { classify, Failure, failureOf } from "../failure/failure.ts";
import { scrub } from "../secrets/scrub.ts";
import { sleep } from "./clock.ts";
import type { Hold } from "./hold.ts";
import { mustUndo } from "./job-state.ts";
import { journalEvents } from "./journal-events.ts";
import { consequenceOf } from "./next-move.ts";
import { isOutcome } from "./outcome.ts";
import {
  infoOf,
  recordAttemptFailed,
  recordCancelled,
  recordCompleted,
  recordDeferred,
  recordFailed,
  recordParked,
  recordSkipped,
  type Subject,
} from "./outcome-entries.ts";
import { openFor, sealFor } from "./payload.ts";
import { progressOf } from "./progress.ts";
import { type PendingUndo, type RunSettings, startRun, type StepStore } from "./run-steps.ts";
import { decodeResult } from "./step-result.ts";
import { undoSteps } from "./undo.ts";

/** What becomes of the work item. */
export type Next = { readonly item: "done" } | { readonly item: "again"; readonly at: Date };

export type AttemptSettings = {
  readonly subject: Subject;
  readonly hold: Hold;
  /** Aborts when the process must end. */
  readonly stopping: AbortSignal;
  readonly fence: string;
  readonly leaseKeys: readonly string[];
};

/** A `work` that ignores its abort is not waited for longer than this. */
const settleMs = 10_000;
const hintEveryMs = 500;
const undoAtLeastMs = 60_000;

const stop = (code: string, message: string) => new Failure("transient", code, message);

function stepStore({ engine, journal, startedSequence }: Subject): StepStore {
  const { tenant, jobId } = journal;
  const place = (step: string) => ({ tenant, jobId, kind: `step:${step}` });
  return {
    remembered(step) {
      const found = journal.state().steps.get(step);
      if (!found) return undefined;
      const result = decodeResult(openFor(engine.sealer, place(step), found.result));
      return { result, undoable: found.undoable };
    },
    finishedBefore: (step) => journal.state().finishes.get(step) ?? 0,
    async finish({ result, durationMs, outputTail, ...rest }) {
      const entry = journalEvents.StepCompleted({
        ...rest,
        result: sealFor(engine.sealer, place(rest.step), result),
        durationMs: BigInt(durationMs),
        outputTail: scrub(outputTail),
      });
      await journal.fact(startedSequence, [entry]);
    },
  };
}

const recorder =
  ({ engine, job, journal }: Subject): RunSettings["record"] =>
  async (name, command, input) => {
    const { queued, generation } = journal.state();
    await handleCommand(
      { log: engine.log, sealer: engine.sealer, source: engine.family, now: engine.clock.now },
      {
        of: job.aggregate,
        id: queued?.aggregateId ?? "",
        command,
        input: input as never,
        cause: {
          tenant: journal.tenant,
          actor: queued?.actor ?? "system",
          causationId: journal.jobId,
          correlationId: queued?.correlationId ?? journal.jobId,
          eventSeed: hashId(journal.jobId, generation, "record", name),
        },
      },
    );
  };

/** What `run` is made of, for working and for undoing. */
export function runSettingsOf(
  { subject, fence, leaseKeys }: AttemptSettings,
  signal: AbortSignal,
  mode: RunSettings["mode"],
): RunSettings {
  const { engine, journal } = subject;
  const { queued, attempts, generation } = journal.state();
  return {
    id: journal.jobId,
    tenant: journal.tenant,
    actor: queued?.actor ?? "system",
    attempt: attempts,
    generation,
    fence,
    leaseKeys,
    signal,
    mode,
    now: engine.clock.now,
    store: stepStore(subject),
    servers: engine.servers,
    record: recorder(subject),
    progress: progressOf(subject),
  };
}

/** Everything that ends an attempt from outside, as one signal with the reason. */
function limits({ subject, hold, stopping }: AttemptSettings) {
  const { engine, journal } = subject;
  const own = new AbortController();
  const end = (failure: Failure) => own.abort(failure);
  const onLost = () => end(classify(hold.signal.reason));
  const onStopping = () => end(stop("worker-stopping", "the worker is shutting down"));
  hold.signal.addEventListener("abort", onLost, { once: true });
  stopping.addEventListener("abort", onStopping, { once: true });
  if (hold.signal.aborted) onLost();
  if (stopping.aborted) onStopping();
  const timeoutMs = Number(journal.state().queued?.timeoutMs ?? 0n);
  const seconds = timeoutMs / 1_000;
  const cancelTimeout = engine.clock.after(timeoutMs, () =>
    end(failureOf("attempt-timeout", `the attempt took longer than ${seconds} s`)),
  );
  let looked = false;
  const look = () => {
    journal.refresh().then(
      ({ cancel }) => cancel && end(stop("cancelled", cancel.reason)),
      // The next heartbeat looks again.
      () => undefined,
    );
  };
  const unhint = engine.log.hint("JOURNAL", journal.subject, () => {
    if (looked) return;
    looked = true;
    engine.clock.after(hintEveryMs, () => {
      looked = false;
      if (!own.signal.aborted) look();
    });
  });
  hold.onBeat(look);
  const clear = () => {
    cancelTimeout();
    unhint();
    hold.signal.removeEventListener("abort", onLost);
    stopping.removeEventListener("abort", onStopping);
  };
  return { signal: own.signal, clear };
}

type Ended = { readonly result: unknown } | { readonly error: unknown };

/** Runs `work` to its end, or until some time after its signal aborted. */
async function runWork(
  { subject, hold }: AttemptSettings,
  run: Parameters<Subject["job"]["work"]>[1],
): Promise<Ended> {
  const { engine, job, input } = subject;
  const { signal } = run;
  const deaf = Promise.withResolvers<Ended>();
  let over = false;
  signal.addEventListener("abort", () => {
    void sleep(engine.clock, settleMs).then(() => {
      if (over) return;
      // It may go on behind our back: nobody else shall have its leases as long as they live.
      hold.abandon();
      deaf.resolve({ error: signal.reason });
    });
  });
  const work = async () => job.work(input, run);
  const ended = work()
    .then(
      (result: unknown): Ended => ({ result }),
      (error: unknown): Ended => ({ error }),
    )
    .finally(() => {
      over = true;
    });
  return Promise.race([ended, deaf.promise]);
}

/** Runs the attempt and records its outcome. Throws "fenced" when a newer attempt owns the job. */
export async function runAttempt(settings: AttemptSettings): Promise<Next> {
  const { subject } = settings;
  const { signal, clear } = limits(settings);
  const started = startRun(runSettingsOf(settings, signal, "work"));
  const ended = await runWork(settings, started.run).finally(clear);
  if ("result" in ended) {
    try {
      return await succeed(subject, ended.result);
    } catch (error) {
      const { code } = classify(error);
      // A result that cannot be kept fails the attempt; anything else is the journal's trouble.
      if (code !== "secret-in-result" && code !== "result-too-large") throw error;
      return fail(settings, { failure: classify(error), step: "", undos: started.undos });
    }
  }
  // What work throws after an abort is noise: the reason is why it was aborted.
  const failure = classify(signal.aborted ? signal.reason : ended.error);
  if (failure.code === "unexpected") {
    subject.engine.logger.error({ err: ended.error, jobId: subject.journal.jobId }, "work threw");
  }
  return fail(settings, { failure, step: started.currentStep(), undos: started.undos });
}

async function succeed(subject: Subject, result: unknown): Promise<Next> {
  if (!isOutcome(result)) await recordCompleted(subject, result);
  else if (result.outcome === "skipped") await recordSkipped(subject, result.reason);
  else {
    await recordDeferred(subject, result, true);
    return { item: "again", at: result.until };
  }
  return { item: "done" };
}

type Failed = {
  readonly failure: Failure;
  readonly step: string;
  readonly undos: readonly PendingUndo[];
};

async function fail(settings: AttemptSettings, failed: Failed): Promise<Next> {
  const { subject } = settings;
  const { engine, journal } = subject;
  const { failure } = failed;
  const now = engine.clock.now();
  const reason = infoOf(failure).message;
  if (failure.code === "worker-stopping") {
    await recordDeferred(subject, { until: now, code: failure.code, reason }, false);
    return { item: "again", at: now };
  }
  const { cancel, queued, attempts, deferrals } = await journal.refresh();
  if (cancel) return endCancelled(settings, cancel, failed.undos);
  const consequence = consequenceOf(failure, {
    attempt: attempts,
    tries: queued?.tries ?? 1,
    backoffMs: (queued?.backoffMs ?? []).map(Number),
    deferrals,
    now,
    random: engine.random(),
  });
  const info = infoOf(failure, failed.step);
  switch (consequence.then) {
    case "defer": {
      const { until } = consequence;
      const tell = failure.wait !== undefined;
      await recordDeferred(subject, { until, code: failure.code, reason }, tell);
      return { item: "again", at: until };
    }
    case "retry":
      await recordAttemptFailed(subject, info, consequence.at);
      return { item: "again", at: consequence.at };
    case "park":
      engine.logger.error({ alert: true, jobId: journal.jobId, ...info }, "job parked");
      await recordParked(subject, info);
      return { item: "done" };
    default:
      return endFailed(settings, info, failed.undos);
  }
}

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
  const giveUp = journal.state().undoRuns > undoRunsMax;
  const undone = giveUp ? false : await undoAll(settings, known);
  await recordCancelled(subject, cancel);
  if (!undone) {
    engine.logger.error({ alert: true, jobId: journal.jobId }, "a cancelled job was not undone");
  }
  return { item: "done" };
}
