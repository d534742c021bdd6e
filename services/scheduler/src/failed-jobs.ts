/** Failed jobs: retrying, forgetting and flushing one, many or all, in bounded batches that tell their progress. */
import {
  FailedJobOutcome,
  type FailedJobResult,
  FailedJobs,
  FailedJobsFilter,
  type FailedJobsProgress,
  type FlushFailedJobsRequest,
  JobState,
  type ResumeJobRequest,
  type ResumeJobResponse,
} from "@chom/proto/chom/jobs/v1/jobs";
import { classify, rejected } from "@chom/shared/failure/failure";
import { fieldsOf } from "@chom/shared/rpc/fields";
import type { Caller } from "@chom/shared/rpc/unary";
import type { App } from "@chom/shared/service/app";
import { and, asc, count, eq, inArray, lte, sql } from "drizzle-orm";
import { entriesOf } from "./history/read-history.ts";
import { jobControl } from "./job-control.ts";
import { conditionsOf } from "./job-search.ts";
import { stateAfter } from "./job-view.ts";
import { type JobRow, jobs } from "./tables.ts";

export type FailedJobVerb = "retry" | "forget";
export type Asker = Pick<Caller, "tenant" | "actor">;

const batchSize = 200;
/** Wishes recorded at the same time; each is one load and one append. */
const atOnce = 16;
const idsMax = 10_000;

type Conditions = ReturnType<typeof conditionsOf>;

type Meant =
  | { readonly ids: readonly string[] }
  | { readonly conditions: Conditions; readonly total: number };

type Doing = {
  readonly app: App;
  readonly asker: Asker;
  readonly verb: FailedJobVerb;
  readonly reason: string;
  readonly signal?: AbortSignal;
};

/** The failure that a wish is about. */
type Failed = { readonly jobId: string; readonly family: string; readonly about: number };

/** Everything that is in the list of failed jobs, narrowed by a filter. */
const failedConditions = (tenant: string, filter: FailedJobsFilter): Conditions => {
  const { failedAfter: endedAfter, failedBefore: endedBefore, ...same } = filter;
  const states = [JobState.FAILED];
  return conditionsOf(tenant, { ...same, endedAfter, endedBefore, states });
};

const isEmpty = (filter: FailedJobsFilter): boolean =>
  Object.values(filter).every((value) => value === undefined || value === "");

async function meantBy(app: App, tenant: string, request: FailedJobs | undefined): Promise<Meant> {
  const wanted = request ?? FailedJobs.fromPartial({});
  const fields = fieldsOf(wanted);
  const ids = [...new Set(fields.texts("jobIds", { max: 64, items: { max: idsMax } }))];
  const { filter, all } = wanted;
  const ways = [ids.length > 0, filter !== undefined, all].filter(Boolean).length;
  if (ways !== 1) fields.refuse("jobIds", "give exactly one of job_ids, filter and all");
  if (filter && isEmpty(filter)) fields.refuse("filter", "must not be empty; say all instead");
  fields.done();
  if (ids.length > 0) return { ids };
  const conditions = failedConditions(tenant, filter ?? FailedJobsFilter.fromPartial({}));
  return { conditions, total: await countOf(app, conditions) };
}

async function countOf(app: App, conditions: Conditions): Promise<number> {
  const [row] = await app.db
    .select({ total: count() })
    .from(jobs)
    .where(and(...conditions));
  return row?.total ?? 0;
}

/** Carries a wish to many jobs; every answer is one batch. A caller that leaves stops it after the batch under way. */
export async function* controlFailed(
  doing: Doing,
  request: FailedJobs | undefined,
): AsyncIterable<FailedJobsProgress> {
  const meant = await meantBy(doing.app, doing.asker.tenant, request);
  const total = "ids" in meant ? meant.ids.length : meant.total;
  const progress = { done: 0n, requested: 0n, total: BigInt(total) };
  const batches = "ids" in meant ? byIds(doing, meant.ids) : byFilter(doing, meant.conditions);
  let told = false;
  for await (const results of batches) {
    const asked = results.filter(({ outcome }) => outcome === FailedJobOutcome.REQUESTED);
    progress.done += BigInt(results.length);
    progress.requested += BigInt(asked.length);
    yield { ...progress, results };
    told = true;
    if (doing.signal?.aborted) return;
  }
  if (!told) yield { ...progress, results: [] };
}

/** Flushes what failed at least so long ago. */
export function flushFailed(
  doing: Omit<Doing, "verb" | "reason">,
  request: FlushFailedJobsRequest,
): AsyncIterable<FailedJobsProgress> {
  const fields = fieldsOf(request);
  const olderThanSeconds = fields.int("olderThanSeconds", { min: 0, max: 10 * 366 * 86_400 });
  const reason = fields.optionalText("reason", { max: 500 });
  fields.done();
  const before = new Date(doing.app.now().getTime() - olderThanSeconds * 1_000);
  const filter = FailedJobsFilter.fromPartial({ failedBefore: before });
  const which = olderThanSeconds === 0 ? { all: true } : { filter };
  return controlFailed({ ...doing, verb: "forget", reason }, FailedJobs.fromPartial(which));
}

async function* byFilter(doing: Doing, conditions: Conditions): AsyncIterable<FailedJobResult[]> {
  let after: JobRow | undefined;
  for (;;) {
    const rows: JobRow[] = await doing.app.db
      .select()
      .from(jobs)
      .where(and(...conditions, after && newer(after)))
      .orderBy(asc(jobs.queuedAt), asc(jobs.jobId), asc(jobs.family))
      .limit(batchSize);
    if (rows.length === 0) return;
    yield await each(rows, (row) => wish(doing, failedOf(row)));
    after = rows.at(-1);
  }
}

/** Oldest first, so that jobs that fail meanwhile do not keep it going for ever. */
const newer = ({ queuedAt, jobId, family }: JobRow) =>
  sql`(${jobs.queuedAt}, ${jobs.jobId}, ${jobs.family}) >
    (${queuedAt.toISOString()}::timestamptz, ${jobId}, ${family})`;

async function* byIds(doing: Doing, ids: readonly string[]): AsyncIterable<FailedJobResult[]> {
  const { app, asker } = doing;
  for (let at = 0; at < ids.length; at += batchSize) {
    const chunk = ids.slice(at, at + batchSize);
    const rows = await app.db
      .select()
      .from(jobs)
      .where(and(eq(jobs.tenant, asker.tenant), inArray(jobs.jobId, chunk)));
    yield await each(chunk, (jobId) => one(doing, jobId, rows));
  }
}

/** The read model may be behind, so what it does not show as failed is looked up in the journal. */
async function one(doing: Doing, jobId: string, rows: readonly JobRow[]): Promise<FailedJobResult> {
  const row = rows.find((found) => found.jobId === jobId && found.state === JobState.FAILED);
  if (row?.forgotten) return answer(jobId, FailedJobOutcome.NOT_FAILED);
  if (row) return wish(doing, failedOf(row));
  try {
    const { family, entries } = await entriesOf(doing.app, doing.asker.tenant, jobId);
    const failure = entries.findLast(({ name }) => name === "JobFailed");
    const forgotten = entries.at(-1)?.name === "JobForgotten";
    if (!failure || forgotten || stateAfter(entries) !== JobState.FAILED) {
      return answer(jobId, FailedJobOutcome.NOT_FAILED);
    }
    return await wish(doing, { jobId, family, about: failure.meta.position });
  } catch (error) {
    if (!["not-found", "invalid"].includes(classify(error).kind)) throw error;
    return answer(jobId, FailedJobOutcome.NOT_FOUND);
  }
}

const failedOf = ({ jobId, family, endedSequence }: JobRow): Failed => ({
  ...{ jobId, family, about: endedSequence ?? 0 },
});

const answer = (jobId: string, outcome: FailedJobOutcome, position = 0): FailedJobResult => ({
  ...{ jobId, outcome, position: BigInt(position) },
});

async function wish(doing: Doing, { jobId, family, about }: Failed): Promise<FailedJobResult> {
  const { app, asker, verb, reason } = doing;
  const { tenant, actor } = asker;
  const { position, decided } = await app.handle(
    jobControl,
    jobId,
    "request",
    { jobId, family, verb, actor, reason, aboutSequence: BigInt(about), now: app.now() },
    { tenant, actor, causationId: jobId, correlationId: jobId, eventSeed: app.newId() },
  );
  const { REQUESTED, ALREADY_REQUESTED } = FailedJobOutcome;
  return answer(jobId, decided > 0 ? REQUESTED : ALREADY_REQUESTED, position);
}

/** In order, a few at a time. */
async function each<T, R>(items: readonly T[], act: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  for (let at = 0; at < items.length; at += atOnce) {
    results.push(...(await Promise.all(items.slice(at, at + atOnce).map(act))));
  }
  return results;
}

const tenantsAtOnce = 100;

/**
 * Takes jobs that failed long ago off the lists of all tenants, so that their journals can be archived and pruned:
 * maintenance for a schedule or a tick. Answers how many it asked for. Running it twice is running it once.
 */
export async function pruneFailed(app: App, olderThanMs: number): Promise<number> {
  const before = new Date(app.now().getTime() - olderThanMs);
  const old = and(
    eq(jobs.state, JobState.FAILED),
    eq(jobs.forgotten, false),
    lte(jobs.endedAt, before),
  );
  const { tenant } = jobs;
  const tenants = await app.db
    .selectDistinct({ tenant })
    .from(jobs)
    .where(old)
    .limit(tenantsAtOnce);
  let requested = 0;
  for (const { tenant } of tenants) {
    const asker = { tenant, actor: "scheduler" };
    const reason = "failed long ago";
    const filter = FailedJobsFilter.fromPartial({ failedBefore: before });
    const doing: Doing = { app, asker, verb: "forget", reason };
    let last = 0n;
    for await (const told of controlFailed(doing, FailedJobs.fromPartial({ filter }))) {
      last = told.requested;
    }
    requested += Number(last);
  }
  return requested;
}

/** Lets a parked job go on. Failure `rejected` "job-not-parked". */
export async function resumeJob(
  app: App,
  request: ResumeJobRequest,
  { tenant, actor }: Asker,
): Promise<ResumeJobResponse> {
  const fields = fieldsOf(request);
  const jobId = fields.id("jobId");
  const reason = fields.optionalText("reason", { max: 500 });
  fields.done();
  const { family, entries } = await entriesOf(app, tenant, jobId);
  const parked = entries.findLast(({ name }) => name === "JobParked");
  if (!parked || stateAfter(entries) !== JobState.PARKED) {
    throw rejected("job-not-parked", `job ${jobId} is not parked`);
  }
  const aboutSequence = BigInt(parked.meta.position);
  const { position } = await app.handle(
    jobControl,
    jobId,
    "request",
    { jobId, family, verb: "resume", actor, reason, aboutSequence, now: app.now() },
    { tenant, actor, causationId: jobId, correlationId: jobId, eventSeed: app.newId() },
  );
  return { position: BigInt(position) };
}
