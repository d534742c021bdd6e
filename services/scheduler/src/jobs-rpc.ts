/** JobsService: shows, stops and repeats the jobs of every family, for the caller's tenant only. */
import {
  type CancelJobRequest,
  type CancelJobResponse,
  type FailedJobs,
  type FailedJobsProgress,
  type FlushFailedJobsRequest,
  type ForgetJobsRequest,
  type GetJobDetailRequest,
  type GetJobRequest,
  JobsServiceService,
  JobState,
  type ListJobsRequest,
  type ResumeJobRequest,
  type RetryJobsRequest,
  type WatchJobRequest,
  type WatchJobResponse,
  type WatchJobsRequest,
} from "@chom/proto/chom/jobs/v1/jobs";
import { rejected } from "@chom/shared/failure/failure";
import { type JournalEntry, readJournal } from "@chom/shared/job/journal";
import { fieldsOf } from "@chom/shared/rpc/fields";
import { type Caller, type RpcService, serverStream, unary } from "@chom/shared/rpc/unary";
import type { App } from "@chom/shared/service/app";
import { controlFailed, type FailedJobVerb, flushFailed, resumeJob } from "./failed-jobs.ts";
import { follow } from "./follow.ts";
import { getJob, getJobDetail } from "./get-job.ts";
import { entriesOf, journalOf } from "./history/read-history.ts";
import { jobControl } from "./job-control.ts";
import { listJobs } from "./job-search.ts";
import { isTerminal, shownJson, stateAfter } from "./job-view.ts";
import { watchJobs } from "./watch-jobs.ts";

export const jobsRpc = (app: App): RpcService => ({
  definition: JobsServiceService,
  implementation: {
    getJob: unary((request: GetJobRequest, caller) => getJob(app, request, caller)),
    getJobDetail: unary((request: GetJobDetailRequest, caller) =>
      getJobDetail(app, request, caller),
    ),
    listJobs: unary((request: ListJobsRequest, caller) => listJobs(app, request, caller)),
    watchJob: serverStream((request: WatchJobRequest, caller) => watchJob(app, request, caller)),
    watchJobs: serverStream((request: WatchJobsRequest, caller) => watchJobs(app, request, caller)),
    retryJobs: serverStream((request: RetryJobsRequest, caller) =>
      control(app, caller, "retry", request),
    ),
    forgetJobs: serverStream((request: ForgetJobsRequest, caller) =>
      control(app, caller, "forget", request),
    ),
    flushFailedJobs: serverStream((request: FlushFailedJobsRequest, caller) =>
      told(flushFailed({ app, asker: caller, signal: caller.signal }, request)),
    ),
    resumeJob: unary((request: ResumeJobRequest, caller) => resumeJob(app, request, caller)),
    cancelJob: unary((request: CancelJobRequest, caller) => cancelJob(app, request, caller)),
  },
});

async function* told(steps: AsyncIterable<FailedJobsProgress>) {
  for await (const progress of steps) yield { progress };
}

function control(
  app: App,
  asker: Caller,
  verb: FailedJobVerb,
  request: { jobs?: FailedJobs | undefined; reason: string },
) {
  const fields = fieldsOf(request);
  const reason = fields.optionalText("reason", { max: 500 });
  fields.done();
  return told(controlFailed({ app, asker, verb, reason, signal: asker.signal }, request.jobs));
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
  const { subject, archived } = await journalOf(app, caller.tenant, jobId);
  let sequence = 0;
  let state: JobState = JobState.UNSPECIFIED;
  function* showing(entries: readonly JournalEntry[]) {
    for (const entry of entries) {
      sequence = entry.meta.position;
      state = stateAfter([entry], state);
      if (sequence > after) yield shown(entry, state);
    }
  }
  // An archived journal has ended: there is nothing to wait for.
  if (archived) return yield* showing((await entriesOf(app, caller.tenant, jobId)).entries);
  const follower = follow(app.log, "JOURNAL", subject, caller.signal);
  try {
    while (!caller.signal.aborted) {
      yield* showing(await readJournal(app, subject, sequence));
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
  const { family, entries } = await entriesOf(app, tenant, jobId);
  if (isTerminal(stateAfter(entries))) {
    throw rejected("job-ended", `job ${jobId} has ended already`);
  }
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
