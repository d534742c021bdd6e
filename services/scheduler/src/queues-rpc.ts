/** QueuesService: what is in the queues, pausing them, and who holds which lease. */
import { JobState } from "@chom/proto/chom/jobs/v1/jobs";
import {
  type ClearQueueRequest,
  type ListLeasesRequest,
  type PauseQueueRequest,
  QueueStats,
  QueuesServiceService,
  type ResumeQueueRequest,
} from "@chom/proto/chom/jobs/v1/queues";
import { api, valueOf } from "@chom/shared/event-log/nats";
import { security } from "@chom/shared/failure/failure";
import type { Queue } from "@chom/shared/job/job";
import { heldLeases } from "@chom/shared/lease/held-leases";
import { fieldsOf } from "@chom/shared/rpc/fields";
import { type Caller, type RpcService, serverStream, unary } from "@chom/shared/rpc/unary";
import type { App } from "@chom/shared/service/app";
import { workConsumer } from "@chom/shared/topology/consumers";
import { families, type Family, isFamily, queues } from "@chom/shared/topology/names";
import { and, count, eq, inArray, min } from "drizzle-orm";
import { clearQueue } from "./queue-clear.ts";
import { queuePause } from "./queue-pause.ts";
import { jobs } from "./tables.ts";

const platform = "platform";
const longestMs = 365 * 86_400_000;

export const queuesRpc = (app: App): RpcService => ({
  definition: QueuesServiceService,
  implementation: {
    listQueues: unary(async (_: object, caller) => ({ queues: await statsOf(app, caller) })),
    pauseQueue: unary((request: PauseQueueRequest, caller) => pauseQueue(app, request, caller)),
    resumeQueue: unary((request: ResumeQueueRequest, caller) => resumeQueue(app, request, caller)),
    clearQueue: serverStream((request: ClearQueueRequest, caller) =>
      clearQueue(app, request, caller),
    ),
    listLeases: unary(async ({ includeRuns }: ListLeasesRequest, { tenant }) => ({
      leases: [...(await heldLeases(app.nats, tenant, includeRuns))],
    })),
  },
});

type ConsumerInfo = {
  readonly config: { readonly max_ack_pending: number; readonly pause_until?: string };
  readonly paused?: boolean;
};

const counted = {
  [JobState.QUEUED]: "ready",
  [JobState.SCHEDULED]: "delayed",
  [JobState.WAITING]: "waiting",
  [JobState.RUNNING]: "running",
  [JobState.PARKED]: "parked",
  [JobState.FAILED]: "failed",
} as const;
type Counted = keyof typeof counted;

async function statsOf(app: App, { tenant }: Caller): Promise<QueueStats[]> {
  const states = Object.keys(counted) as Counted[];
  const { family, queue, state, queuedAt } = jobs;
  const rows = await app.db
    .select({ family, queue, state, jobs: count(), oldest: min(queuedAt) })
    .from(jobs)
    .where(
      and(
        inArray(state, states),
        eq(jobs.forgotten, false),
        tenant === platform ? undefined : eq(jobs.tenant, tenant),
      ),
    )
    .groupBy(family, queue, state);
  const places = families.flatMap((name) => queues.map((each) => [name, each] as const));
  return Promise.all(
    places.map(async ([name, each]) => {
      const stats = QueueStats.fromPartial(await brokerStats(app, name, each));
      for (const row of rows.filter((found) => found.family === name && found.queue === each)) {
        stats[counted[row.state as Counted]] = BigInt(row.jobs);
        if (row.state === JobState.QUEUED) stats.oldestReadyAt = row.oldest ?? undefined;
      }
      return stats;
    }),
  );
}

async function brokerStats(app: App, family: Family, queue: Queue): Promise<Partial<QueueStats>> {
  const name = workConsumer(family, queue);
  const answer = await api<ConsumerInfo>(app.nats, `CONSUMER.INFO.JOBS.${name}`);
  const { config, paused = false } = valueOf(answer, `reading the queue ${name}`);
  const of = { family, queue, slots: config.max_ack_pending, paused };
  if (!paused) return of;
  const { state } = await app.load(queuePause, platform, name);
  const { actor = "", reason = "" } = state.paused ?? {};
  const pausedUntil = config.pause_until ? new Date(config.pause_until) : undefined;
  return { ...of, pausedUntil, pausedBy: actor, pausedReason: reason };
}

/** The queues meant by a request of the operators of the platform. */
function meant(
  request: { readonly family: string; readonly queue: string },
  { tenant }: Caller,
): { family: Family; chosen: readonly Queue[] } {
  if (tenant !== platform) {
    throw security("not-permitted", "all tenants share the queues: only platform may pause them");
  }
  const fields = fieldsOf(request);
  const { family, queue } = request;
  if (!isFamily(family)) fields.refuse("family", `must be one of ${families.join(", ")}`);
  const chosen = queues.filter((each) => queue === "" || each === queue);
  if (chosen.length === 0) fields.refuse("queue", `must be one of ${queues.join(", ")}`);
  fields.done();
  return { family: family as Family, chosen };
}

async function setPause(app: App, consumer: string, until?: Date): Promise<void> {
  const body = until ? { pause_until: until.toISOString() } : {};
  const answer = await api(app.nats, `CONSUMER.PAUSE.JOBS.${consumer}`, body);
  valueOf(answer, `pausing or resuming ${consumer}`);
}

const causeOf = (app: App, { actor }: Caller) => ({
  ...{ tenant: platform, actor, eventSeed: app.newId() },
});

async function pauseQueue(app: App, request: PauseQueueRequest, caller: Caller) {
  const { family, chosen } = meant(request, caller);
  const fields = fieldsOf(request);
  const reason = fields.optionalText("reason", { max: 500 });
  const now = app.now().getTime();
  const until = request.until ?? new Date(now + longestMs);
  if (+until <= now || +until > now + longestMs) fields.refuse("until", "must be within a year");
  fields.done();
  const { actor } = caller;
  for (const queue of chosen) {
    const name = workConsumer(family, queue);
    // Said before it is done: a pause without a name would be worse than a name without a pause.
    const wish = { family, queue, actor, reason, until };
    await app.handle(queuePause, name, "pause", wish, causeOf(app, caller));
    await setPause(app, name, until);
  }
  return { until };
}

async function resumeQueue(app: App, request: ResumeQueueRequest, caller: Caller) {
  const { family, chosen } = meant(request, caller);
  const { actor } = caller;
  for (const queue of chosen) {
    const name = workConsumer(family, queue);
    await setPause(app, name);
    const wish = { family, queue, actor };
    await app.handle(queuePause, name, "resume", wish, causeOf(app, caller));
  }
  return {};
}
