/** JobsService: shows and stops the jobs of every family, for the caller's tenant only. */
import {
  type CancelJobRequest,
  type CancelJobResponse,
  type GetJobRequest,
  type GetJobResponse,
  Job,
  JobsServiceService,
  JobState,
  type ListJobsRequest,
  type ListJobsResponse,
  type WatchJobRequest,
  type WatchJobResponse,
} from "@chom/proto/chom/jobs/v1/jobs";
import { notFound, rejected } from "@chom/shared/failure/failure";
import { type JournalEntry, readJournal } from "@chom/shared/job/journal";
import { fieldsOf } from "@chom/shared/rpc/fields";
import { decodeToken, encodeToken, pageOf } from "@chom/shared/rpc/page-token";
import { type Caller, type RpcService, serverStream, unary } from "@chom/shared/rpc/unary";
import type { App } from "@chom/shared/service/app";
import { families } from "@chom/shared/topology/names";
import { journalSubject } from "@chom/shared/topology/subjects";
import { and, arrayContains, desc, eq, gt, inArray, lt, or, type SQL } from "drizzle-orm";
import { follow } from "./follow.ts";
import { jobControl } from "./job-control.ts";
import { isTerminal, shownJson, stateAfter } from "./job-view.ts";
import { jobList } from "./projections.ts";
import { type JobRow, jobs } from "./tables.ts";

export const jobsRpc = (app: App): RpcService => ({
  definition: JobsServiceService,
  implementation: {
    getJob: unary((request: GetJobRequest, caller) => getJob(app, request, caller)),
    listJobs: unary((request: ListJobsRequest, caller) => listJobs(app, request, caller)),
    watchJob: serverStream((request: WatchJobRequest, caller) => watchJob(app, request, caller)),
    cancelJob: unary((request: CancelJobRequest, caller) => cancelJob(app, request, caller)),
  },
});

function messageOf(row: JobRow): Job {
  const { failureCode: code, failureKind: kind, failureMessage: message, failureStep: step } = row;
  return Job.fromPartial({
    ...row,
    failure: code === "" ? undefined : { code, kind, message, step },
    startedAt: row.startedAt ?? undefined,
    endedAt: row.endedAt ?? undefined,
    dueAt: row.dueAt ?? undefined,
  });
}

async function getJob(app: App, request: GetJobRequest, caller: Caller): Promise<GetJobResponse> {
  const fields = fieldsOf(request);
  const jobId = fields.id("jobId");
  const position = fields.position();
  fields.done();
  await app.seen(jobList.name, position);
  const [row] = await app.db
    .select()
    .from(jobs)
    .where(and(eq(jobs.tenant, caller.tenant), eq(jobs.jobId, jobId)))
    .orderBy(desc(jobs.queuedAt))
    .limit(1);
  if (!row) throw notFound("job", jobId);
  return { job: messageOf(row) };
}

function filterOf(request: ListJobsRequest) {
  const fields = fieldsOf(request);
  const filter = {
    family: fields.optionalId("family"),
    name:
      request.name === ""
        ? ""
        : fields.matching("name", /^[a-z][a-z0-9-]{0,31}\.[a-z][a-z0-9-]{0,31}$/, "a job's name"),
    states: fields.enums("states", JobState),
    siteId: fields.optionalId("siteId"),
    serverId: fields.optionalId("serverId"),
    tag: fields.optionalText("tag", { max: 64 }),
    queuedAfter: fields.time("queuedAfter"),
    queuedBefore: fields.time("queuedBefore"),
  };
  const pageSize = fields.pageSize();
  const position = fields.position();
  fields.done();
  return { filter, pageSize, position };
}

type Filter = ReturnType<typeof filterOf>["filter"];

function conditionsOf(tenant: string, filter: Filter): (SQL | undefined)[] {
  const { family, name, states, siteId, serverId, tag, queuedAfter, queuedBefore } = filter;
  return [
    eq(jobs.tenant, tenant),
    eq(jobs.forgotten, false),
    family === "" ? undefined : eq(jobs.family, family),
    name === "" ? undefined : eq(jobs.name, name),
    states.length === 0 ? undefined : inArray(jobs.state, [...states]),
    siteId === "" ? undefined : eq(jobs.siteId, siteId),
    serverId === "" ? undefined : eq(jobs.serverId, serverId),
    tag === "" ? undefined : arrayContains(jobs.tags, [tag]),
    queuedAfter && gt(jobs.queuedAt, queuedAfter),
    queuedBefore && lt(jobs.queuedAt, queuedBefore),
  ];
}

async function listJobs(
  app: App,
  request: ListJobsRequest,
  caller: Caller,
): Promise<ListJobsResponse> {
  const { filter, pageSize, position } = filterOf(request);
  const scope = { tenant: caller.tenant, list: "jobs", filter };
  const after = decodeToken(app.sealer, scope, request.pageToken);
  await app.seen(jobList.name, position);
  const older =
    after &&
    or(
      lt(jobs.queuedAt, after.createdAt),
      and(eq(jobs.queuedAt, after.createdAt), lt(jobs.jobId, after.id)),
    );
  const found = await app.db
    .select()
    .from(jobs)
    .where(and(...conditionsOf(caller.tenant, filter), older))
    .orderBy(desc(jobs.queuedAt), desc(jobs.jobId))
    .limit(pageSize + 1);
  const { rows, nextPageToken } = pageOf(found, pageSize, ({ queuedAt, jobId }) =>
    encodeToken(app.sealer, scope, { createdAt: queuedAt, id: jobId }),
  );
  return { jobs: rows.map(messageOf), nextPageToken };
}

/** Where a job's journal is; asked of the log, because the read model may not know it yet. */
async function journalOf(app: App, tenant: string, jobId: string) {
  const found = await Promise.all(
    families.map(async (family) => {
      const subject = journalSubject(tenant, family, jobId);
      const last = await app.log.last("JOURNAL", subject);
      return last ? [{ family, subject, at: last.sequence }] : [];
    }),
  );
  const [newest] = found.flat().toSorted((left, right) => right.at - left.at);
  if (!newest) throw notFound("job", jobId);
  return newest;
}

const shown = (entry: JournalEntry, state: JobState): WatchJobResponse => ({
  sequence: BigInt(entry.meta.position),
  time: entry.meta.time,
  type: entry.name,
  dataJson: shownJson(entry),
  state,
});

async function* watchJob(
  app: App,
  request: WatchJobRequest,
  caller: Caller,
): AsyncIterable<WatchJobResponse> {
  const fields = fieldsOf(request);
  const jobId = fields.id("jobId");
  const after = fields.position("afterSequence");
  fields.done();
  const { subject } = await journalOf(app, caller.tenant, jobId);
  const follower = follow(app.log, "JOURNAL", subject, caller.signal);
  try {
    let sequence = 0;
    let state: JobState = JobState.UNSPECIFIED;
    while (!caller.signal.aborted) {
      for (const entry of await readJournal(app, subject, sequence)) {
        sequence = entry.meta.position;
        state = stateAfter([entry], state);
        if (sequence > after) yield shown(entry, state);
      }
      if (isTerminal(state)) return;
      await follower.changed();
    }
  } finally {
    follower.stop();
  }
}

async function cancelJob(
  app: App,
  request: CancelJobRequest,
  caller: Caller,
): Promise<CancelJobResponse> {
  const fields = fieldsOf(request);
  const jobId = fields.id("jobId");
  const reason = fields.optionalText("reason", { max: 500 });
  fields.done();
  const { tenant, actor } = caller;
  const { family, subject } = await journalOf(app, tenant, jobId);
  const entries = await readJournal(app, subject);
  if (isTerminal(stateAfter(entries)))
    throw rejected("job-ended", `job ${jobId} has ended already`);
  const begun = entries.findLast(({ name }) => name === "JobQueued" || name === "JobRetried");
  const aboutSequence = BigInt(begun?.meta.position ?? 0);
  const { position } = await app.handle(
    jobControl,
    jobId,
    "request",
    { jobId, family, verb: "cancel", actor, reason, aboutSequence, now: app.now() },
    { tenant, actor, causationId: jobId, correlationId: jobId, eventSeed: app.newId() },
  );
  return { position: BigInt(position) };
}
