/** Clearing a queue: what has never started is cancelled, in bounded batches that tell their progress. */
import { type ClearQueueRequest, ClearQueueResponse } from "@chom/proto/chom/jobs/v1/queues";
import { JobState } from "@chom/proto/chom/jobs/v1/jobs";
import { api, valueOf } from "@chom/shared/event-log/nats";
import { classify, security } from "@chom/shared/failure/failure";
import { fieldsOf } from "@chom/shared/rpc/fields";
import type { Caller } from "@chom/shared/rpc/unary";
import type { App } from "@chom/shared/service/app";
import { families, isFamily, queues } from "@chom/shared/topology/names";
import { and, asc, count, eq, inArray, isNull, max, type SQL, sql } from "drizzle-orm";
import { jobControl } from "./job-control.ts";
import { jobList } from "./projections.ts";
import { type JobRow, jobs } from "./tables.ts";

const platform = "platform";
const batchSize = 200;
/** Wishes recorded at the same time; each is one load and one append. */
const atOnce = 16;
/** The read model must show what was queued before the call; each try waits 2 s. */
const behindTriesMax = 15;

/** What a job may be that never started. Parked ones wait for a person and are spared. */
const unstarted = [JobState.QUEUED, JobState.SCHEDULED, JobState.WAITING];

function wishOf(request: ClearQueueRequest, { tenant: own }: Caller) {
  const fields = fieldsOf(request);
  const { family, queue, dryRun } = request;
  const tenant = fields.optionalId("tenant");
  const reason = fields.optionalText("reason", { max: 500 });
  if (!isFamily(family)) fields.refuse("family", `must be one of ${families.join(", ")}`);
  if (!queues.some((each) => each === queue)) {
    fields.refuse("queue", `must be one of ${queues.join(", ")}`);
  }
  fields.done();
  if (own !== platform && tenant !== own) {
    throw security("not-permitted", "all tenants share the queues: name your own tenant");
  }
  return { family, queue, tenant, reason, dryRun };
}

/** Waits until the read model shows every journal entry of before the call. */
async function caughtUp(app: App, signal: AbortSignal): Promise<void> {
  const answer = await api<{ state: { last_seq: number } }>(app.nats, "STREAM.INFO.JOURNAL");
  const { state } = valueOf(answer, "reading the stream JOURNAL");
  for (let tries = 1; ; tries += 1) {
    try {
      return await app.seen(jobList.name, state.last_seq);
    } catch (error) {
      const isBehind = classify(error).code === "read-model-behind";
      if (!isBehind || tries >= behindTriesMax || signal.aborted) throw error;
    }
  }
}

const behind = ({ queuedAt, jobId, family, tenant }: JobRow) =>
  sql`(${jobs.queuedAt}, ${jobs.jobId}, ${jobs.family}, ${jobs.tenant}) >
    (${queuedAt.toISOString()}::timestamptz, ${jobId}, ${family}, ${tenant})`;

async function cancelUnstarted(
  app: App,
  { tenant, jobId, family }: JobRow,
  { actor, reason }: { actor: string; reason: string },
): Promise<number> {
  const { decided } = await app.handle(
    jobControl,
    jobId,
    "request",
    { jobId, family, verb: "clear", actor, reason, aboutSequence: 0n, now: app.now() },
    { tenant, actor, causationId: jobId, correlationId: jobId, eventSeed: app.newId() },
  );
  return decided > 0 ? 1 : 0;
}

async function* batches(app: App, conditions: SQL | undefined): AsyncIterable<JobRow[]> {
  let after: JobRow | undefined;
  for (;;) {
    const rows: JobRow[] = await app.db
      .select()
      .from(jobs)
      .where(and(conditions, after && behind(after)))
      .orderBy(asc(jobs.queuedAt), asc(jobs.jobId), asc(jobs.family), asc(jobs.tenant))
      .limit(batchSize);
    if (rows.length === 0) return;
    yield rows;
    after = rows.at(-1);
  }
}

/** Every answer is one batch. A caller that leaves stops it after the batch under way. Failure `security` "not-permitted". */
export async function* clearQueue(
  app: App,
  request: ClearQueueRequest,
  caller: Caller,
): AsyncIterable<ClearQueueResponse> {
  const { family, queue, tenant, reason, dryRun } = wishOf(request, caller);
  await caughtUp(app, caller.signal);
  const meant = and(
    eq(jobs.family, family),
    eq(jobs.queue, queue),
    inArray(jobs.state, unstarted),
    isNull(jobs.startedAt),
    tenant === "" ? undefined : eq(jobs.tenant, tenant),
  );
  const [found] = await app.db
    .select({ total: count(), newest: max(jobs.queuedAt) })
    .from(jobs)
    .where(meant);
  const { total = 0, newest } = found ?? {};
  const progress = { done: 0n, requested: 0n, total: BigInt(total) };
  yield ClearQueueResponse.fromPartial(progress);
  if (dryRun || !newest) return;
  // So that jobs that are queued meanwhile do not keep it going for ever.
  const until = sql`${jobs.queuedAt} <= ${newest.toISOString()}::timestamptz`;
  for await (const rows of batches(app, and(meant, until))) {
    for (let at = 0; at < rows.length; at += atOnce) {
      const wishes = rows
        .slice(at, at + atOnce)
        .map((row) => cancelUnstarted(app, row, { actor: caller.actor, reason }));
      for (const asked of await Promise.all(wishes)) progress.requested += BigInt(asked);
    }
    progress.done += BigInt(rows.length);
    yield ClearQueueResponse.fromPartial(progress);
    if (caller.signal.aborted) return;
  }
}
