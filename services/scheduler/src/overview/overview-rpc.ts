/** OverviewService: how many jobs are where, and what happened over time; never reads the jobs to count them. */
import {
  type GetOverviewRequest,
  type GetOverviewResponse,
  type GetThroughputRequest,
  type GetThroughputResponse,
  OverviewServiceService,
  type ThroughputBucket,
} from "@chom/proto/chom/jobs/v1/overview";
import { type Job, JobState } from "@chom/proto/chom/jobs/v1/jobs";
import { fieldsOf } from "@chom/shared/rpc/fields";
import { type Caller, type RpcService, unary } from "@chom/shared/rpc/unary";
import type { App } from "@chom/shared/service/app";
import { and, asc, eq, gt, gte, sql } from "drizzle-orm";
import { messageOf } from "../job-search.ts";
import { jobList } from "../projections.ts";
import { jobs } from "../tables.ts";
import { jobBuckets, jobStates } from "./overview-tables.ts";
import { spanStart, throughput } from "./throughput-projection.ts";

const hourMs = 3_600_000;
const longestHours = 2_160;
const bucketsMax = 120;
/** All divide a day, so that buckets stand still while time goes on. */
const widths = [60, 300, 900, 1_800, 3_600, 7_200, 21_600, 43_200, 86_400] as const;
const dayS = 86_400;

/** The narrowest bucket of which a span of hours has at most 120, in seconds. */
export const bucketSeconds = (hours: number): number =>
  widths.find((width) => (hours * 3_600) / width <= bucketsMax) ?? dayS;

export const stateCounts = (db: App["db"], tenant: string) =>
  db
    .select()
    .from(jobStates)
    .where(and(eq(jobStates.tenant, tenant), gt(jobStates.jobs, 0)));

/** The index on state and time of queueing begins with the row that is wanted. */
export const oldestReady = (db: App["db"], tenant: string) =>
  db
    .select()
    .from(jobs)
    .where(and(eq(jobs.tenant, tenant), eq(jobs.state, JobState.QUEUED)))
    .orderBy(asc(jobs.queuedAt), asc(jobs.jobId))
    .limit(1);

/** There are never more running jobs than workers have slots. */
export const oldestRunning = (db: App["db"], tenant: string) =>
  db
    .select()
    .from(jobs)
    .where(and(eq(jobs.tenant, tenant), eq(jobs.state, JobState.RUNNING)))
    .orderBy(asc(jobs.startedAt))
    .limit(1);

async function overview(
  app: App,
  request: GetOverviewRequest,
  { tenant }: Caller,
): Promise<GetOverviewResponse> {
  const fields = fieldsOf(request);
  const position = fields.position();
  fields.done();
  await app.seen(jobList.name, position);
  const [counts, [ready], [running]] = await Promise.all([
    stateCounts(app.db, tenant),
    oldestReady(app.db, tenant),
    oldestRunning(app.db, tenant),
  ]);
  const shown = (row: typeof ready): Job | undefined => row && messageOf(row);
  return {
    counts: counts.map((row) => ({ ...row, jobs: BigInt(row.jobs) })),
    oldestReady: shown(ready),
    oldestRunning: shown(running),
  };
}

export type Span = {
  readonly tenant: string;
  readonly family: string;
  readonly since: Date;
  readonly widthS: number;
};

const total = (column: keyof typeof jobBuckets.$inferSelect & string) =>
  sql<string>`sum(${jobBuckets[column]})`;

/** Sums within a span, one row for each bucket in which something happened. */
export const bucketsQuery = (db: App["db"], { tenant, family, since, widthS }: Span) => {
  const at = sql<string>`floor(extract(epoch from ${jobBuckets.startsAt}) / ${sql.raw(String(widthS))})`;
  return db
    .select({
      at,
      queued: total("queued"),
      completed: total("completed"),
      skipped: total("skipped"),
      failed: total("failed"),
      cancelled: total("cancelled"),
      retried: total("retried"),
      durationMs: total("durationMs"),
    })
    .from(jobBuckets)
    .where(
      and(
        eq(jobBuckets.tenant, tenant),
        eq(jobBuckets.unit, widthS < 3_600 ? "minute" : "hour"),
        gte(jobBuckets.startsAt, since),
        family === "" ? undefined : eq(jobBuckets.family, family),
      ),
    )
    .groupBy(at);
};

async function throughputOf(
  app: App,
  request: GetThroughputRequest,
  { tenant }: Caller,
): Promise<GetThroughputResponse> {
  const fields = fieldsOf(request);
  const hours = fields.int("hours", { min: 1, max: longestHours, default: 24 });
  const family = fields.optionalId("family");
  const position = fields.position();
  fields.done();
  await app.seen(throughput.name, position);
  const widthS = bucketSeconds(hours);
  const widthMs = widthS * 1_000;
  const count = Math.ceil((hours * hourMs) / widthMs);
  const last = spanStart(app.now(), widthMs).getTime();
  const since = new Date(last - (count - 1) * widthMs);
  const rows = await bucketsQuery(app.db, { tenant, family, since, widthS });
  const found = new Map(rows.map(({ at, ...sums }) => [Number(at) * widthMs, sums]));
  const buckets = Array.from({ length: count }, (_, index): ThroughputBucket => {
    const at = since.getTime() + index * widthMs;
    const sums = found.get(at);
    const of = (name: keyof NonNullable<typeof sums>) => BigInt(sums?.[name] ?? 0);
    return {
      startsAt: new Date(at),
      ...{ queued: of("queued"), completed: of("completed"), skipped: of("skipped") },
      ...{ failed: of("failed"), cancelled: of("cancelled"), retried: of("retried") },
      durationMs: of("durationMs"),
    };
  });
  return { buckets, bucketSeconds: widthS };
}

/** The RPCs; only of the caller's own tenant. */
export const overviewRpc = (app: App): RpcService => ({
  definition: OverviewServiceService,
  implementation: {
    getOverview: unary((request: GetOverviewRequest, caller) => overview(app, request, caller)),
    getThroughput: unary((request: GetThroughputRequest, caller) =>
      throughputOf(app, request, caller),
    ),
  },
});
