/** Finding jobs: filters, keyset pages and the index behind each, over any number of rows. */
import {
  Job,
  JobState,
  type ListJobsRequest,
  type ListJobsResponse,
} from "@chom/proto/chom/jobs/v1/jobs";
import { shaped } from "@chom/shared/input/grammar";
import { failureCodeProblem, jobNameProblem } from "@chom/shared/input/names";
import { fieldsOf } from "@chom/shared/rpc/fields";
import { decodeToken, encodeToken, pageOf } from "@chom/shared/rpc/page-token";
import type { Caller } from "@chom/shared/rpc/unary";
import type { App } from "@chom/shared/service/app";
import { queues } from "@chom/shared/topology/names";
import { and, arrayContains, desc, eq, gt, inArray, lt, or, type SQL, sql } from "drizzle-orm";
import { jobList } from "./projections.ts";
import { type JobRow, jobs } from "./tables.ts";

/** A row as callers see it. */
export function messageOf(row: JobRow): Job {
  const { failureCode: code, failureKind: kind, failureMessage: message, failureStep: step } = row;
  return Job.fromPartial({
    ...row,
    failure: code === "" ? undefined : { code, kind, message, step },
    startedAt: row.startedAt ?? undefined,
    endedAt: row.endedAt ?? undefined,
    dueAt: row.dueAt ?? undefined,
  });
}

const queueProblem = shaped(new RegExp(`^(?:${queues.join("|")})$`), 16, "high, default or low");

function filterOf(request: ListJobsRequest) {
  const fields = fieldsOf(request);
  const filter = {
    family: fields.optionalId("family"),
    name: fields.optionalFitting("name", jobNameProblem),
    states: fields.enums("states", JobState),
    siteId: fields.optionalId("siteId"),
    serverId: fields.optionalId("serverId"),
    tag: fields.optionalText("tag", { max: 64 }),
    queuedAfter: fields.time("queuedAfter"),
    queuedBefore: fields.time("queuedBefore"),
    endedAfter: fields.time("endedAfter"),
    endedBefore: fields.time("endedBefore"),
    failureCode: fields.optionalFitting("failureCode", failureCodeProblem),
    chainId: fields.optionalId("chainId"),
    batchId: fields.optionalId("batchId"),
    scheduleId: fields.optionalId("scheduleId"),
    idPrefix: fields.optionalId("idPrefix"),
    includeForgotten: request.includeForgotten,
    queue: fields.optionalFitting("queue", queueProblem),
  };
  const pageSize = fields.pageSize();
  const position = fields.position();
  fields.done();
  return { filter, pageSize, position };
}

export type JobFilter = ReturnType<typeof filterOf>["filter"];

const same = (column: Parameters<typeof eq>[0], value: string): SQL | undefined =>
  value === "" ? undefined : eq(column, value);

/** Ids hold a-z, 0-9 and dash only, all below `~`; these operators are those of the index, whatever the collation. */
const beginsWith = (prefix: string): SQL | undefined =>
  prefix === ""
    ? undefined
    : sql`(${jobs.jobId} ~>=~ ${prefix} AND ${jobs.jobId} ~<~ ${`${prefix}~`})`;

/** What a filter asks of a row. */
export function conditionsOf(tenant: string, filter: Partial<JobFilter>): (SQL | undefined)[] {
  const { states = [], tag = "", queuedAfter, queuedBefore, endedAfter, endedBefore } = filter;
  return [
    eq(jobs.tenant, tenant),
    filter.includeForgotten ? undefined : eq(jobs.forgotten, false),
    same(jobs.family, filter.family ?? ""),
    same(jobs.name, filter.name ?? ""),
    same(jobs.queue, filter.queue ?? ""),
    states.length === 0 ? undefined : inArray(jobs.state, [...states]),
    same(jobs.siteId, filter.siteId ?? ""),
    same(jobs.serverId, filter.serverId ?? ""),
    same(jobs.failureCode, filter.failureCode ?? ""),
    same(jobs.chainId, filter.chainId ?? ""),
    same(jobs.batchId, filter.batchId ?? ""),
    same(jobs.scheduleId, filter.scheduleId ?? ""),
    tag === "" ? undefined : arrayContains(jobs.tags, [tag]),
    beginsWith(filter.idPrefix ?? ""),
    queuedAfter && gt(jobs.queuedAt, queuedAfter),
    queuedBefore && lt(jobs.queuedAt, queuedBefore),
    endedAfter && gt(jobs.endedAt, endedAfter),
    endedBefore && lt(jobs.endedAt, endedBefore),
  ];
}

/** The query of one page: newest first, after a row. */
export function pageQuery(
  db: App["db"],
  conditions: readonly (SQL | undefined)[],
  after: { createdAt: Date; id: string } | undefined,
  limit: number,
) {
  const older =
    after &&
    or(
      lt(jobs.queuedAt, after.createdAt),
      and(eq(jobs.queuedAt, after.createdAt), lt(jobs.jobId, after.id)),
    );
  return db
    .select()
    .from(jobs)
    .where(and(...conditions, after && lteQueued(after), older))
    .orderBy(desc(jobs.queuedAt), desc(jobs.jobId))
    .limit(limit);
}

/** Said twice, because an index range is only made of a condition that stands alone. */
const lteQueued = ({ createdAt }: { createdAt: Date }): SQL =>
  sql`${jobs.queuedAt} <= ${createdAt.toISOString()}::timestamptz`;

/** Answers ListJobs. */
export async function listJobs(
  app: App,
  request: ListJobsRequest,
  caller: Caller,
): Promise<ListJobsResponse> {
  const { filter, pageSize, position } = filterOf(request);
  const scope = { tenant: caller.tenant, list: "jobs", filter };
  const after = decodeToken(app.sealer, scope, request.pageToken);
  await app.seen(jobList.name, position);
  const conditions = conditionsOf(caller.tenant, filter);
  const found = await pageQuery(app.db, conditions, after, pageSize + 1);
  const { rows, nextPageToken } = pageOf(found, pageSize, ({ queuedAt, jobId }) =>
    encodeToken(app.sealer, scope, { createdAt: queuedAt, id: jobId }),
  );
  return { jobs: rows.map(messageOf), nextPageToken };
}
