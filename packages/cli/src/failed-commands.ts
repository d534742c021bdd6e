/** `chom queue failed|retry|forget|flush|monitor`: failed jobs, and whether queues are too full. */
import {
  FailedJobOutcome,
  FailedJobResult,
  FailedJobs,
  type FailedJobsProgress,
  Job,
  JobState,
} from "@chom/proto/chom/jobs/v1/jobs";
import { type MonitoredQueue, MonitoredQueue as Queue } from "@chom/proto/chom/scheduler/v1/alerts";
import { invalid } from "@chom/shared/failure/failure";
import { type Command, InvalidArgumentError } from "commander";
import { connected, contextOption, leaf, type Session, wholeNumber } from "./command.ts";
import { confirmed, type Consent, environmentOption } from "./confirm.ts";
import { exitCodes } from "./exit-codes.ts";
import { type FilterOptions, filters, jobsOf, moment } from "./job-list.ts";
import { type Column, time, word } from "./output.ts";

const failedColumns: readonly Column<Job>[] = [
  ["id", ({ jobId }) => jobId],
  ["name", ({ name }) => name],
  ["queue", ({ family, queue }) => `${family}.${queue}`],
  ["failed", ({ endedAt }) => time(endedAt)],
  ["attempts", ({ attempts }) => String(attempts)],
  ["failure", ({ failure }) => (failure ? `${failure.message} (${failure.code})` : "")],
];

type Common = { json?: boolean; context?: string };
type BulkOptions = Common &
  FilterOptions &
  Consent & { all?: boolean; reason: string; failedBefore?: Date };

/** Which jobs are meant: ids, `all` or --all, or filters. */
function meant(ids: readonly string[], options: BulkOptions): FailedJobs {
  const { family, name, queue, site: siteId, server: serverId, tag } = options;
  const { code: failureCode, chain: chainId, batch: batchId, failedBefore } = options;
  const filter = {
    ...{ family, name, queue, siteId, serverId, tag, failureCode, chainId, batchId },
    ...(failedBefore ? { failedBefore } : {}),
  };
  const isFiltered = Object.values(filter).some((value) => value !== "");
  const all = options.all === true || (ids.length === 1 && ids[0] === "all");
  const jobIds = all ? [] : [...ids];
  const ways = [jobIds.length > 0, isFiltered, all].filter(Boolean).length;
  if (ways !== 1) {
    throw invalid([{ field: "jobs", description: "give ids, or all, or filters, and only one" }]);
  }
  return FailedJobs.fromPartial(isFiltered ? { filter } : { jobIds, all });
}

type Told = { readonly done: number; readonly requested: number; readonly unknown: number };

const words: Readonly<Partial<Record<FailedJobOutcome, string>>> = {
  [FailedJobOutcome.ALREADY_REQUESTED]: "was asked already",
  [FailedJobOutcome.NOT_FOUND]: "does not exist",
  [FailedJobOutcome.NOT_FAILED]: "has not failed, or is forgotten",
};

/** Shows the progress of a bulk call and its sum; exits 3 when an id is unknown. */
async function follow(
  { output }: Session,
  steps: AsyncIterable<{ progress: FailedJobsProgress | undefined }>,
): Promise<number> {
  let told: Told = { done: 0, requested: 0, unknown: 0 };
  const others: unknown[] = [];
  for await (const { progress } of steps) {
    if (!progress) continue;
    const { results, done, requested, total } = progress;
    const odd = results.filter(({ outcome }) => outcome !== FailedJobOutcome.REQUESTED);
    others.push(...odd.map(FailedJobResult.toJSON));
    for (const { jobId, outcome } of odd)
      output.note(`${jobId} ${words[outcome] ?? word(outcome)}`);
    const unknown = odd.filter(({ outcome }) => outcome === FailedJobOutcome.NOT_FOUND).length;
    told = { done: Number(done), requested: Number(requested), unknown: told.unknown + unknown };
    if (total > BigInt(results.length)) output.note(`${done} of ${total}`);
  }
  const shown = { ...told, others };
  output.one(shown, [["asked for", ({ requested }) => String(requested)]], (row) => row);
  return told.unknown > 0 ? exitCodes.notFound : exitCodes.ok;
}

const bulk = (command: Command): Command =>
  filters(command)
    .addOption(contextOption())
    .option(
      "--failed-before <time>",
      "only what failed before a time, or longer ago than 24h",
      moment,
    )
    .option("--all", "all failed jobs; the word all does the same")
    .option("--reason <text>", "why, for the audit", "");

/** A call over thousands of jobs may take minutes. */
const long = { deadlineMs: 3_600_000 };

function retryCommand(queue: Command): void {
  bulk(
    leaf(
      queue,
      "retry [job-ids...]",
      "Start failed jobs again, each with fresh tries. Exits 3 when an id is unknown.",
      "chom queue retry 0x2… 0x3…\nchom queue retry all\nchom queue retry --name backup.create --code disk-full",
    ),
  ).action((ids: string[], options: BulkOptions) =>
    connected(options, async (session) => {
      const request = { jobs: meant(ids, options), reason: options.reason };
      return follow(session, session.clients.jobs().retryJobs(request, long));
    }),
  );
}

function forgetCommand(queue: Command): void {
  bulk(
    leaf(
      queue,
      "forget [job-ids...]",
      "Take failed jobs out of the list; asks before. Exits 3 when an id is unknown.",
      "chom queue forget 0x2… --force\nchom queue forget --code site-gone --force",
    ),
  )
    .option("--force", "do not ask; needed without a terminal")
    .addOption(environmentOption())
    .action((ids: string[], options: BulkOptions) =>
      connected(options, async (session) => {
        const jobs = meant(ids, options);
        const what = jobs.jobIds.length > 0 ? `${jobs.jobIds.length} failed jobs` : "failed jobs";
        const count = jobs.jobIds.length > 0 ? jobs.jobIds.length : Infinity;
        const { environment } = session;
        await confirmed({ question: `forget ${what}?`, count, environment }, options);
        const request = { jobs, reason: options.reason };
        return follow(session, session.clients.jobs().forgetJobs(request, long));
      }),
    );
}

type FlushOptions = Common & Consent & { hours: number; reason: string };

function flushCommand(queue: Command): void {
  leaf(
    queue,
    "flush",
    "Forget all failed jobs, or those that failed at least some hours ago; asks before.",
    "chom queue flush --hours 48 --force",
  )
    .addOption(contextOption())
    .option("--hours <n>", "only what failed at least so long ago", wholeNumber, 0)
    .option("--reason <text>", "why, for the audit", "")
    .option("--force", "do not ask; needed without a terminal")
    .addOption(environmentOption())
    .action((options: FlushOptions) =>
      connected(options, async (session) => {
        const { hours, reason } = options;
        const age = hours > 0 ? ` that failed ${hours} hours ago or earlier` : "";
        const question = `forget all failed jobs${age}?`;
        await confirmed({ question, count: Infinity, environment: session.environment }, options);
        const request = { olderThanSeconds: BigInt(hours) * 3_600n, reason };
        return follow(session, session.clients.jobs().flushFailedJobs(request, long));
      }),
    );
}

const queueColumns: readonly Column<MonitoredQueue>[] = [
  ["queue", ({ queue }) => queue],
  ["size", ({ size }) => String(size)],
  ["pending", ({ pending }) => String(pending)],
  ["delayed", ({ delayed }) => String(delayed)],
  ["reserved", ({ reserved }) => String(reserved)],
  ["status", ({ busy, edge }) => (edge === "" ? (busy ? "BUSY" : "OK") : edge.toUpperCase())],
];

function queueNames(text: string): readonly string[] {
  const names = text.split(",").map((name) => name.trim());
  if (names.some((name) => name === ""))
    throw new InvalidArgumentError("names a queue that is empty");
  return names;
}

function monitorCommand(queue: Command): void {
  leaf(
    queue,
    "monitor <queues>",
    "Measure queues. Reaching --max raises the alert queue-busy once, falling to 80 % of it resolves it. Exits 0 when none is busy, 1 when one is.",
    "chom queue monitor default,high --max=100\nchom queue monitor backup.default --max=1000 --json",
  )
    .addOption(contextOption())
    .option("--max <n>", "busy at this size", wholeNumber, 1_000)
    .action((names: string, options: Common & { max: number }) =>
      connected(options, async ({ clients, output }) => {
        const request = { queues: [...queueNames(names)], max: options.max };
        const { queues } = await clients.alerts().monitorQueues(request);
        output.many(queues, queueColumns, Queue.toJSON);
        return queues.some(({ busy }) => busy) ? exitCodes.failed : exitCodes.ok;
      }),
    );
}

/** Adds the commands to the group `queue`, which is made when it is not there yet. */
export function failedCommands(program: Command): void {
  const there = program.commands.find((command) => command.name() === "queue");
  const queue = there ?? program.command("queue").description("queues and failed jobs");
  leaf(
    queue,
    "failed",
    "List failed jobs, newest first.",
    "chom queue failed --name backup.create\nchom queue failed --json | jq -r .[].jobId",
  );
  const failed = queue.commands.find((command) => command.name() === "failed") ?? queue;
  filters(failed)
    .addOption(contextOption())
    .option("--limit <n>", "at most so many", wholeNumber, 50)
    .action((options: Common & FilterOptions & { limit: number }) =>
      connected(options, async (session) => {
        const { family, name, queue, site: siteId, server: serverId, tag } = options;
        const { code: failureCode, chain: chainId, batch: batchId, limit } = options;
        const rows = await jobsOf(session, limit, {
          ...{ family, name, queue, siteId, serverId, tag, failureCode, chainId, batchId },
          states: [JobState.FAILED],
        });
        session.output.many(rows, failedColumns, Job.toJSON);
      }),
    );
  retryCommand(queue);
  forgetCommand(queue);
  flushCommand(queue);
  monitorCommand(queue);
}
