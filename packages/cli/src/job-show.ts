/** `chom job show`: one job with its input, attempts, steps, waits and how it was cancelled. */
import {
  GetJobDetailResponse,
  Job,
  type JobAttempt,
  type JobStep,
  type JobWait,
} from "@chom/proto/chom/jobs/v1/jobs";
import type { Command } from "commander";
import { connected, contextOption, leaf } from "./command.ts";
import { jobColumns } from "./job-list.ts";
import { type Column, type Output, time } from "./output.ts";

type Detail = GetJobDetailResponse & { readonly job: Job };

const ofJob: readonly Column<Job>[] = [
  ...jobColumns,
  ["family", ({ family, queue }) => `${family} (${queue})`],
  ["server", ({ serverId }) => serverId],
  ["asked by", ({ actor }) => actor],
  ["attempts", ({ attempts, tries }) => `${attempts} of ${tries}`],
  ["retried", ({ generation }) => (generation > 1 ? `${generation - 1} times` : "")],
  ["progress", ({ percent, progress }) => (progress === "" ? "" : `${percent} % ${progress}`)],
  ["due", ({ dueAt }) => (dueAt ? time(dueAt) : "")],
  ["reason", ({ reason }) => reason],
  ["failure", ({ failure }) => (failure ? `${failure.message} (${failure.code})` : "")],
  ["in step", ({ failure }) => failure?.step ?? ""],
  ["tags", ({ tags }) => tags.join(", ")],
  ["chain", ({ chainId }) => chainId],
  ["batch", ({ batchId }) => batchId],
  ["schedule", ({ scheduleId }) => scheduleId],
];

function pretty(json: string): string {
  return JSON.stringify(JSON.parse(json), null, 2);
}

const ofDetail: readonly Column<Detail>[] = [
  ...ofJob.map(([heading, of]): Column<Detail> => [heading, ({ job }) => of(job)]),
  ["timeout", ({ timeoutMs }) => (timeoutMs > 0n ? `${timeoutMs / 1_000n} s an attempt` : "")],
  ["expires", ({ expiresAt }) => (expiresAt ? time(expiresAt) : "")],
  ["caused by", ({ causationId }) => causationId],
  ["told from", ({ archived }) => (archived ? "the archive" : "")],
  [
    "cancel",
    ({ cancel }) =>
      cancel
        ? [
            `asked by ${cancel.actor} at ${time(cancel.requestedAt)}: ${cancel.reason}`,
            cancel.acknowledgedAt ? `seen by ${cancel.acknowledgedBy}` : "",
            cancel.escalatedAt ? `escalated: ${cancel.escalation}` : "",
            cancel.endedAt ? `ended ${time(cancel.endedAt)}` : "not ended yet",
          ]
            .filter((part) => part !== "")
            .join("; ")
        : "",
  ],
  [
    "input",
    ({ inputJson, inputProblem }) =>
      inputJson === "" ? `not readable here (${inputProblem})` : pretty(inputJson),
  ],
];

const span = (ms: bigint | number): string => {
  const value = Number(ms);
  return value < 10_000 ? `${value} ms` : `${Math.round(value / 1_000)} s`;
};

const ofAttempt: readonly Column<JobAttempt>[] = [
  [
    "attempt",
    ({ generation, attempt }) => (generation > 1 ? `${generation}/${attempt}` : `${attempt}`),
  ],
  ["outcome", ({ outcome }) => outcome],
  ["began", ({ startedAt }) => time(startedAt)],
  [
    "took",
    ({ startedAt, endedAt }) =>
      startedAt && endedAt ? span(endedAt.getTime() - startedAt.getTime()) : "–",
  ],
  ["worker", ({ worker }) => worker],
  ["failure", ({ failure }) => (failure ? `${failure.message} (${failure.code})` : "")],
];

const ofStep: readonly Column<JobStep>[] = [
  ["step", ({ name }) => name],
  ["finished", ({ finishedAt }) => time(finishedAt)],
  ["took", ({ durationMs }) => span(durationMs)],
  ["server", ({ serverId }) => serverId],
  [
    "undone",
    ({ undoneAt, undoFailure }) =>
      undoFailure ? `no: ${undoFailure.message}` : undoneAt ? time(undoneAt) : "",
  ],
];

const ofWait: readonly Column<JobWait>[] = [
  ["waited for", ({ kind, reason }) => (reason === "" ? kind : `${kind} ${reason}`)],
  ["since", ({ since }) => time(since)],
  ["for", ({ until, durationMs }) => (until ? span(durationMs) : "until now")],
  ["held by", ({ holderJobId }) => holderJobId],
];

function tables(output: Output, { attempts, steps, waits }: Detail): void {
  // Waits that nobody noticed say nothing.
  const long = waits.filter(({ until, durationMs }) => !until || durationMs >= 100n);
  if (attempts.length > 0) output.many(attempts, ofAttempt, (row) => row);
  if (steps.length > 0) output.many(steps, ofStep, (row) => row);
  if (long.length > 0) output.many(long, ofWait, (row) => row);
}

/** Adds `job show`. JSON is the job with its detail below `detail`. */
export function showCommand(job: Command): void {
  leaf(
    job,
    "show <job-id>",
    "Show one job: input (secrets masked), attempts, steps, waits. Also after its journal was pruned.",
    "chom job show 0x2…\nchom job show 0x2… --json | jq .detail.steps",
  )
    .addOption(contextOption())
    .action((jobId: string, options: { json?: boolean }) =>
      connected(options, async ({ clients, output }) => {
        const answer = await clients.jobs().getJobDetail({ jobId, minPosition: 0n });
        const detail: Detail = { ...answer, job: Job.fromPartial(answer.job ?? {}) };
        output.one(detail, ofDetail, (row) => ({
          ...(Job.toJSON(row.job) as object),
          detail: GetJobDetailResponse.toJSON({ ...row, job: undefined }),
        }));
        if (!output.json) tables(output, detail);
      }),
    );
}
