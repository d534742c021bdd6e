/** DispatchService: any job by its name, for callers who may start it by its family's method too. */
import {
  type DispatchJobRequest,
  type DispatchJobResponse,
  DispatchServiceService,
} from "@chom/proto/chom/jobs/v1/dispatch";
import type { FailureKind } from "@chom/shared/failure/failure";
import { Failure, security } from "@chom/shared/failure/failure";
import { jobRefusal } from "@chom/shared/job/job-refusal";
import { fieldsOf } from "@chom/shared/rpc/fields";
import { type Caller, type RpcService, unary } from "@chom/shared/rpc/unary";
import type { App } from "@chom/shared/service/app";
import { journalSubject } from "@chom/shared/topology/subjects";
import { methodOf, requestJob } from "./job-request.ts";

const answerWithinMs = 2_000;
const lookEveryMs = 50;

export const dispatchRpc = (app: App): RpcService => ({
  definition: DispatchServiceService,
  implementation: {
    dispatchJob: unary((request: DispatchJobRequest, caller) => dispatchJob(app, request, caller)),
  },
});

/** Whoever may not call the family's method may not come in by the name of its job. */
function checkPermitted({ permissions }: Caller, wanted: string): void {
  if (permissions.includes("*") || permissions.includes(wanted)) return;
  throw security("not-permitted", `needs the permission ${wanted}`);
}

async function dispatchJob(
  app: App,
  request: DispatchJobRequest,
  caller: Caller,
): Promise<DispatchJobResponse> {
  const fields = fieldsOf(request);
  const jobId = fields.id("requestId");
  const reason = fields.optionalText("reason", { max: 200 });
  fields.done();
  const { jobName, inputJson, options } = request;
  const { family, permission } = methodOf(jobName);
  checkPermitted(caller, permission);
  const { tenant, actor } = caller;
  const wish = { tenant, jobId, jobName, inputJson, actor, reason };
  await requestJob(app, options ? { ...wish, options } : wish);
  const position = await answered(app, { tenant, jobId, family }, caller.signal);
  return { jobId, position: BigInt(position), accepted: position > 0 };
}

type Place = { readonly tenant: string; readonly jobId: string; readonly family: string };

/** Waits shortly for the family: the journal's position when it accepted the job, 0 without an answer. Throws its refusal. */
async function answered(app: App, place: Place, signal: AbortSignal): Promise<number> {
  const { tenant, jobId, family } = place;
  const subject = journalSubject(tenant, family, jobId);
  const until = app.now().getTime() + answerWithinMs;
  while (!signal.aborted && app.now().getTime() < until) {
    const last = await app.log.last("JOURNAL", subject);
    if (last) return last.sequence;
    const { refused } = (await app.load(jobRefusal, tenant, jobId)).state;
    if (refused) {
      const { kind = "rejected", code = "refused", message = "" } = refused.failure ?? {};
      // Kinds are written by our own families only.
      throw new Failure(kind as FailureKind, code, message, { violations: refused.fields });
    }
    await new Promise((resolve) => setTimeout(resolve, lookEveryMs));
  }
  return 0;
}
