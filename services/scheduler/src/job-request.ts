/** Asking a family for a job by name: recorded here once, answered by the family with a journal or a refusal. */
import { JobOptions, JobRequested } from "@chom/proto/chom/jobs/v1/control";
import { jobRequests } from "@chom/proto/job-requests";
import { aggregate, type Evolve } from "@chom/shared/aggregate/aggregate";
import { eventTypes } from "@chom/shared/aggregate/event-types";
import { hashId } from "@chom/shared/aggregate/id";
import { conflict, invalid } from "@chom/shared/failure/failure";
import { sealFor } from "@chom/shared/job/payload";
import { canonicalRequest } from "@chom/shared/rpc/request-json";
import type { App } from "@chom/shared/service/app";

const happened = eventTypes({ JobRequested });
/** Sealed and in base64 it must fit into an event. */
const maxRequestBytes = 128 * 1024;

type Asked = { readonly hash: string };

const evolve: Evolve<Asked, typeof happened> = {
  JobRequested: (_, { requestHash }) => ({ hash: requestHash }),
};

const commands = {
  /** The same request twice is one; another under the same id is Failure `conflict` "already-exists". */
  request({ hash }: Asked, wish: JobRequested) {
    if (hash === "") return happened.JobRequested(wish);
    if (hash === wish.requestHash) return [];
    throw conflict("already-exists", `job ${wish.jobId} was asked for with another request`);
  },
};

const jobRequest = aggregate({
  name: "job-request",
  events: happened,
  initial: (): Asked => ({ hash: "" }),
  evolve,
  commands,
});

export type JobWish = {
  readonly tenant: string;
  readonly jobId: string;
  /** Like `backup.create`; the method that starts it says what the input looks like. */
  readonly jobName: string;
  /** JSON of that method's request, without its request id. */
  readonly inputJson: string;
  readonly options?: Partial<JobOptions>;
  readonly actor: string;
  readonly reason?: string;
  /** The event that this is because of. */
  readonly causationId?: string;
  readonly correlationId?: string;
  readonly chainId?: string;
  readonly batchId?: string;
  readonly scheduleId?: string;
};

/** The method that starts a job. Failure `invalid` naming `field` when no family has such a job. */
export function methodOf(jobName: string, field = "job_name") {
  const method = Object.hasOwn(jobRequests, jobName) ? jobRequests[jobName] : undefined;
  if (method) return method;
  const known = Object.keys(jobRequests).toSorted().join(", ");
  throw invalid([{ field, description: `must be one of ${known}` }]);
}

/** What a job is asked with, in one form. Failure `invalid` naming `field`. */
export function checkedRequest(jobName: string, inputJson: string, field = "input_json"): string {
  const { type } = methodOf(jobName);
  if (Buffer.byteLength(inputJson) > maxRequestBytes) {
    throw invalid([{ field, description: `must have at most ${maxRequestBytes} bytes` }]);
  }
  return canonicalRequest(type, inputJson, field);
}

/**
 * Records the request; the job's family validates and queues it. Twice is once. `position` is the request's in the
 * event log. Failures: `invalid` with the field, `conflict` "already-exists".
 */
export async function requestJob(app: App, wish: JobWish): Promise<{ position: number }> {
  const { tenant, jobId, jobName, actor, reason = "" } = wish;
  const { chainId = "", batchId = "", scheduleId = "" } = wish;
  const { family } = methodOf(jobName);
  const request = Buffer.from(checkedRequest(jobName, wish.inputJson));
  const options = JobOptions.fromPartial(wish.options ?? {});
  const told = JSON.stringify([jobName, JobOptions.toJSON(options)]);
  const place = { tenant, jobId, kind: `request:${jobName}` };
  await app.sealer.ready(tenant);
  const data: JobRequested = {
    ...{ jobId, family, jobName, options, actor, reason, chainId, batchId, scheduleId },
    request: sealFor(app.sealer, place, request),
    requestHash: app.sealer.fingerprint(tenant, Buffer.concat([Buffer.from(told), request])),
  };
  const cause = {
    ...{ tenant, actor, causationId: wish.causationId ?? jobId },
    ...{ correlationId: wish.correlationId ?? wish.causationId ?? jobId },
    eventSeed: hashId("job-request", jobId, data.requestHash),
  };
  const { position } = await app.handle(jobRequest, jobId, "request", data, cause);
  return { position };
}
