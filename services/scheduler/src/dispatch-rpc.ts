/** DispatchService: any job by its name, for callers who may start it by its family's method too. */
import {
  type DispatchJobRequest,
  type DispatchJobResponse,
  DispatchServiceService,
} from "@chom/proto/chom/jobs/v1/dispatch";
import { security } from "@chom/shared/failure/failure";
import { fieldsOf } from "@chom/shared/rpc/fields";
import { type Caller, type RpcService, unary } from "@chom/shared/rpc/unary";
import type { App } from "@chom/shared/service/app";
import { answered } from "./job-answer.ts";
import { methodOf, requestJob } from "./job-request.ts";

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
