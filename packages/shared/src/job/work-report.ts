/** What a worker tells whoever started it: when it takes up a job, how that attempt ended, when it pauses or stops. */
import { timed } from "../telemetry/metrics.ts";
import { noteFacts, noteFailure } from "../telemetry/tracing.ts";
import type { Engine } from "./engine.ts";
import type { AnyJob, Queue } from "./job.ts";
import type { JobState } from "./job-state.ts";
import type { JournalWriter } from "./journal-writer.ts";

type OfJob = {
  readonly jobId: string;
  readonly tenant: string;
  readonly job: string;
  readonly queue: string;
  readonly attempt: number;
};

/** How an attempt left its job. `lost`: nothing could be recorded, or a newer attempt owns the job. */
export type AttemptOutcome =
  | "completed"
  | "skipped"
  | "failed"
  | "cancelled"
  | "retrying"
  | "deferred"
  | "parked"
  | "lost";

export type WorkReport =
  | ({ readonly work: "job-started" } & OfJob)
  | ({
      readonly work: "job-ended";
      readonly outcome: AttemptOutcome;
      readonly durationMs: number;
      /** Of the failure, when there is one; otherwise empty. */
      readonly code: string;
    } & OfJob)
  | { readonly work: "worker-started"; readonly worker: string; readonly queues: readonly Queue[] }
  | { readonly work: "worker-paused" | "worker-resumed" }
  | { readonly work: "worker-stopping"; readonly reason: string };

const ends = {
  JobCompleted: "completed",
  JobSkipped: "skipped",
  JobFailed: "failed",
  JobCancelled: "cancelled",
} as const;

/** How the journal says that attempt number `attempt` ended. A deferred one is not spent. */
export function outcomeOf(state: JobState, attempt: number): AttemptOutcome {
  if (state.end) return ends[state.end.name];
  if (state.parked) return "parked";
  if (state.running) return "lost";
  return state.attempts < attempt ? "deferred" : "retrying";
}

const withCode: readonly AttemptOutcome[] = ["failed", "retrying", "parked"];

/** Measures how long a job waited that starts now: since it was due, and for leases and turns. */
export function measureStart({ family, clock }: Engine, state: JobState): void {
  const { queued, everStarted, waitingSince } = state;
  const now = clock.now().getTime();
  if (queued && !everStarted) {
    const dueAt = Math.max(queued.at.getTime(), queued.notBefore?.getTime() ?? 0);
    timed("chom_job_start_delay_seconds", { family, queue: queued.queue }, now - dueAt);
  }
  if (waitingSince) timed("chom_job_wait_seconds", { family }, now - waitingSince.getTime());
}

/** Runs an attempt, measures it, and tells its begin and its end to whoever listens. */
export async function reporting<T>(
  { engine, job, journal }: { engine: Engine; job: AnyJob; journal: JournalWriter },
  attempt: number,
  work: () => Promise<T>,
): Promise<T> {
  const { report = () => {}, family } = engine;
  const { tenant, jobId } = journal;
  const queue = journal.state().queued?.queue ?? "";
  const about = { jobId, tenant, job: job.name, queue, attempt };
  const startedAt = engine.clock.now().getTime();
  const tell = (outcome: AttemptOutcome, code: string) => {
    const durationMs = engine.clock.now().getTime() - startedAt;
    timed("chom_job_duration_seconds", { family, job: job.name, outcome }, durationMs);
    noteFacts({ "chom.job.attempt": attempt, "chom.job.outcome": outcome });
    if (code !== "") noteFailure(code);
    report({ work: "job-ended", ...about, outcome, durationMs, code });
  };
  report({ work: "job-started", ...about });
  try {
    const answer = await work();
    const state = journal.state();
    const outcome = outcomeOf(state, attempt);
    tell(outcome, withCode.includes(outcome) ? (state.failure?.code ?? "") : "");
    return answer;
  } catch (error) {
    tell("lost", "");
    throw error;
  }
}
