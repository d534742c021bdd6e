/** Following a job: its steps as they happen, until it ended or needs a person. */
import { type Job, JobState, type WatchJobResponse } from "@chom/proto/chom/jobs/v1/jobs";
import { permanent } from "@chom/shared/failure/failure";
import ora from "ora";
import type { Clients } from "./context.ts";
import type { Output } from "./output.ts";

type Data = Readonly<Record<string, unknown>>;
const text = (value: unknown): string =>
  typeof value === "string" || typeof value === "number" ? String(value) : "";
const failureOf = (data: Data): string => {
  const { code, message } = (data["failure"] ?? {}) as { code?: string; message?: string };
  return `${message ?? "failed"} (${code ?? "unknown"})`;
};

const sentences: Readonly<Record<string, (data: Data) => string>> = {
  JobQueued: (data) => `queued ${text(data["jobName"])}`,
  JobWaiting: (data) => `waits for ${text(data["leaseKey"])}`,
  JobDeferred: (data) => `deferred until ${text(data["until"])}: ${text(data["reason"])}`,
  JobStarted: (data) => `attempt ${text(data["attempt"])} began`,
  StepCompleted: (data) => `${text(data["step"])} (${text(data["durationMs"]) || "0"} ms)`,
  StepUndone: (data) => `undone: ${text(data["step"])}`,
  JobProgressed: (data) => `${text(data["percent"]) || "0"} % ${text(data["message"])}`,
  JobAttemptFailed: (data) => `attempt ${text(data["attempt"])} failed: ${failureOf(data)}`,
  JobCompleted: () => "completed",
  JobSkipped: (data) => `skipped: ${text(data["reason"])}`,
  JobFailed: (data) => `failed: ${failureOf(data)}`,
  JobParked: (data) => `needs a person: ${failureOf(data)}; ${text(data["remedy"])}`,
  JobResumed: () => "resumed",
  JobCancelRequested: (data) => `cancel asked by ${text(data["actor"])}`,
  JobCancelled: (data) => `cancelled: ${text(data["reason"])}`,
  JobRetried: () => "retried",
  JobForgotten: () => "forgotten",
  JobCancelAcknowledged: (data) => `${text(data["worker"])} is stopping it`,
  JobCancelEscalated: (data) => `cancel escalated: ${text(data["reason"])}`,
};

/** One journal entry as one line for people. */
export function sentenceOf({ type, dataJson }: Pick<WatchJobResponse, "type" | "dataJson">) {
  return sentences[type]?.(JSON.parse(dataJson) as Data) ?? type;
}

const over: readonly JobState[] = [
  JobState.COMPLETED,
  JobState.SKIPPED,
  JobState.FAILED,
  JobState.CANCELLED,
  JobState.PARKED,
];

/** A job that did not do what it was asked for. */
export const isFailed = (state: JobState): boolean =>
  state === JobState.FAILED || state === JobState.CANCELLED || state === JobState.PARKED;

/** A spinner with a line for each finished step on a terminal, plain lines elsewhere, nothing with --json. */
function reporter(output: Output) {
  // A pseudo-terminal may say that it is 0 columns wide, and the spinner would clear lines for ever.
  const canSpin = output.isTerminal && process.stderr.isTTY && process.stderr.columns > 0;
  const spinner =
    canSpin && !output.json ? ora({ text: "queued", discardStdin: false }).start() : undefined;
  return {
    entry(entry: WatchJobResponse): void {
      const sentence = sentenceOf(entry);
      if (!spinner) output.note(sentence);
      else if (over.includes(entry.state)) spinner.text = sentence;
      else if (entry.type === "StepCompleted") spinner.succeed(sentence).start();
      else if (/Failed$|Undone$/.test(entry.type)) spinner.warn(sentence).start();
      else spinner.text = sentence;
    },
    end(state: JobState): void {
      if (isFailed(state)) spinner?.fail();
      else spinner?.succeed();
    },
  };
}

/** Shows a job until it ended or is parked; answers its last state. Survives cut connections. */
export async function followJob(
  clients: Clients,
  jobId: string,
  output: Output,
): Promise<JobState> {
  const report = reporter(output);
  let state: JobState = JobState.UNSPECIFIED;
  let afterSequence = 0n;
  for (let failures = 0; ; ) {
    try {
      for await (const entry of clients.jobs().watchJob({ jobId, afterSequence })) {
        failures = 0;
        afterSequence = entry.sequence;
        state = entry.state;
        report.entry(entry);
        if (over.includes(state)) break;
      }
      if (!over.includes(state)) throw permanent("job-unfinished", "the job's journal ended early");
      report.end(state);
      return state;
    } catch (error) {
      failures += 1;
      const isCut = error instanceof Error && "kind" in error && error.kind === "transient";
      if (!isCut || failures > 5) throw error;
      await new Promise((resolve) => setTimeout(resolve, 500 * failures));
    }
  }
}

/** The job's row once the read model has its end; as it is after 2 s otherwise. */
export async function endedJob(clients: Clients, jobId: string): Promise<Job | undefined> {
  for (let tries = 0; ; tries += 1) {
    const { job } = await clients.jobs().getJob({ jobId, minPosition: 0n });
    if (!job || over.includes(job.state) || tries >= 20) return job;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
