/** One attempt: runs `work` under its time limit and its leases, and records how it ended. */
import { classify, type Failure } from "../failure/failure.ts";
import { attemptLimits } from "./attempt-limits.ts";
import { endCancelled, endFailed, escalate, type Next } from "./bad-ends.ts";
import { sleep } from "./clock.ts";
import { consequenceOf } from "./next-move.ts";
import { isOutcome } from "./outcome.ts";
import {
  infoOf,
  recordAttemptFailed,
  recordCompleted,
  recordDeferred,
  recordParked,
  recordSkipped,
  type Subject,
} from "./outcome-entries.ts";
import { type AttemptSettings, runSettingsOf } from "./run-settings.ts";
import { type PendingUndo, startRun } from "./run-steps.ts";

/** The time of grace: a `work` that ignores its abort is not waited for longer than this. */
export const settleMs = 10_000;

type Ended = { readonly result: unknown } | { readonly error: unknown; readonly deaf?: true };

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
      deaf.resolve({ error: signal.reason, deaf: true });
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
  const { signal, clear } = attemptLimits(settings);
  const started = startRun(runSettingsOf(settings, signal, "work"));
  const ended = await runWork(settings, started.run).finally(clear);
  if ("result" in ended) {
    try {
      return await succeed(subject, ended.result);
    } catch (error) {
      const { code } = classify(error);
      // A result that cannot be kept fails the attempt; anything else is the journal's trouble.
      if (code !== "secret-in-result" && code !== "result-too-large") throw error;
      return fail(settings, {
        failure: classify(error),
        step: "",
        undos: started.undos,
        isDeaf: false,
      });
    }
  }
  // What work throws after an abort is noise: the reason is why it was aborted.
  const failure = classify(signal.aborted ? signal.reason : ended.error);
  if (failure.code === "unexpected") {
    subject.engine.logger.error({ err: ended.error, jobId: subject.journal.jobId }, "work threw");
  }
  const { undos } = started;
  return fail(settings, { failure, step: started.currentStep(), undos, isDeaf: "deaf" in ended });
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
  /** It did not end within its time of grace, and may go on behind our back. */
  readonly isDeaf: boolean;
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
  const { cancel, queued, attempts, deferrals, exceptions } = await journal.refresh();
  if (cancel) {
    const { isDeaf } = failed;
    const mustFence = isDeaf || subject.openServers.size > 0;
    const owning = mustFence ? await escalate(settings, isDeaf) : settings;
    return endCancelled(owning, cancel, failed.undos);
  }
  const consequence = consequenceOf(failure, {
    attempt: attempts,
    tries: queued?.tries ?? 1,
    backoffMs: (queued?.backoffMs ?? []).map(Number),
    backoffKind: queued?.backoffKind === "exponential" ? "exponential" : "list",
    backoffMaxMs: Number(queued?.backoffMaxMs ?? 0n),
    exceptions,
    maxExceptions: queued?.maxExceptions ?? 0,
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
