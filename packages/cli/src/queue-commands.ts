/** `chom queue stats|pause|resume|clear` and `chom lease list`. */
import {
  ClearQueueResponse,
  HeldLease,
  PauseQueueResponse,
  QueueStats,
  ResumeQueueResponse,
} from "@chom/proto/chom/jobs/v1/queues";
import type { Command } from "commander";
import { connected, contextOption, groupOf, leaf } from "./command.ts";
import { confirmed, type Consent, environmentOption } from "./confirm.ts";
import { type Column, time } from "./output.ts";

const shown = (value: bigint): string => String(value);
const columns: readonly Column<QueueStats>[] = [
  ["family", ({ family }) => family],
  ["queue", ({ queue }) => queue],
  ["ready", ({ ready }) => shown(ready)],
  ["delayed", ({ delayed }) => shown(delayed)],
  ["waiting", ({ waiting }) => shown(waiting)],
  ["running", ({ running }) => shown(running)],
  ["parked", ({ parked }) => shown(parked)],
  ["failed", ({ failed }) => shown(failed)],
  ["slots", ({ slots }) => String(slots)],
  ["oldest ready", ({ oldestReadyAt }) => time(oldestReadyAt)],
  [
    "paused",
    ({ paused, pausedUntil, pausedBy, pausedReason }) =>
      paused ? `until ${time(pausedUntil)} by ${pausedBy} ${pausedReason}`.trim() : "",
  ],
];
const leaseColumns: readonly Column<HeldLease>[] = [
  ["lease", ({ key }) => key],
  ["held by", ({ holderJobId }) => holderJobId],
  ["waiting", ({ waitingJobIds }) => waitingJobIds.join(", ")],
];

type Common = { json?: boolean };

type ClearOptions = Common & Consent & { tenant: string; reason: string; dryRun?: boolean };

/** A call over thousands of jobs may take minutes. */
const long = { deadlineMs: 3_600_000 };

function clearCommand(queue: Command): void {
  leaf(
    queue,
    "clear <family> <queue>",
    "Cancel the jobs of a queue that have never started; what has started goes on. Asks before. All tenants share the queues: without --tenant only for platform.",
    'chom queue clear backup low --dry-run\nchom queue clear backup low --tenant acme --reason "queued by mistake" --force',
  )
    .addOption(contextOption())
    .option("--tenant <tenant>", "only the jobs of this tenant", "")
    .option("--reason <text>", "why, for the audit", "")
    .option("--dry-run", "only count")
    .option("--force", "do not ask; needed without a terminal")
    .addOption(environmentOption())
    .action((family: string, name: string, options: ClearOptions) =>
      connected(options, async ({ clients, output, environment }) => {
        const { tenant, reason, dryRun = false } = options;
        const wish = { family, queue: name, tenant, reason, dryRun };
        let last = ClearQueueResponse.fromPartial({});
        const follow = async (request: typeof wish) => {
          for await (const step of clients.queues().clearQueue(request, long)) {
            last = step;
            if (step.done > 0n) output.note(`${step.done} of ${step.total}`);
          }
        };
        await follow({ ...wish, dryRun: true });
        if (!dryRun) {
          const question = `cancel ${last.total} jobs of ${family}.${name}?`;
          await confirmed({ question, count: Number(last.total), environment }, options);
          await follow(wish);
        }
        const columns: Column<ClearQueueResponse>[] = [
          ["not started", ({ total }) => shown(total)],
          ["asked to cancel", ({ requested }) => shown(requested)],
        ];
        output.one(last, columns, ClearQueueResponse.toJSON);
      }),
    );
}

/** Adds `queue stats`, `queue pause`, `queue resume`, `queue clear` and the group `lease`. */
export function queueCommands(program: Command): void {
  const queue = groupOf(program, "queue", "what waits, and what failed");
  leaf(queue, "stats", "Show what is in each queue.", "chom queue stats")
    .addOption(contextOption())
    .action((options: Common) =>
      connected(options, async ({ clients, output }) => {
        const answer = await clients.queues().listQueues({});
        output.many(answer.queues, columns, QueueStats.toJSON);
      }),
    );
  leaf(
    queue,
    "pause <family> [queue]",
    "Give out no jobs of a family, in one queue or all, until a time. Running jobs go on.",
    'chom queue pause backup --until 2026-12-01T06:00:00Z --reason "storage is being moved"',
  )
    .addOption(contextOption())
    .option(
      "--until <time>",
      "resumes by itself then; default a year ahead",
      (text) => new Date(text),
    )
    .option("--reason <text>", "why, for everybody to see", "")
    .action((family: string, name = "", options: Common & { until?: Date; reason: string }) =>
      connected(options, async ({ clients, output }) => {
        const { until, reason } = options;
        const answer = await clients.queues().pauseQueue({ family, queue: name, reason, until });
        output.one(answer, [["paused until", (row) => time(row.until)]], PauseQueueResponse.toJSON);
      }),
    );
  leaf(queue, "resume <family> [queue]", "Go on at once.", "chom queue resume backup")
    .addOption(contextOption())
    .action((family: string, name = "", options: Common = {}) =>
      connected(options, async ({ clients, output }) => {
        const answer = await clients.queues().resumeQueue({ family, queue: name });
        output.one(answer, [["resumed", () => family]], ResumeQueueResponse.toJSON);
      }),
    );
  clearCommand(queue);
  const lease = groupOf(program, "lease", "who holds what, and who waits for it");
  leaf(lease, "list", "List leases and slots with holder and waiters.", "chom lease list")
    .addOption(contextOption())
    .option("--runs", "also the leases of running jobs themselves", false)
    .action((options: Common & { runs: boolean }) =>
      connected(options, async ({ clients, output }) => {
        const answer = await clients.queues().listLeases({ includeRuns: options.runs });
        output.many(answer.leases, leaseColumns, HeldLease.toJSON);
      }),
    );
}
