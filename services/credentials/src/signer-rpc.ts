/** SignerService: log-ins of other services' running jobs. Every call is checked against the journal anew. */
import {
  type OpenSessionRequest,
  type ReportHostKeyRequest,
  SignerServiceService,
  type SignRequest,
} from "@chom/proto/chom/credentials/v1/credentials";
import { classify, failureOf, transient } from "@chom/shared/failure/failure";
import { type Caller, type RpcService, unary } from "@chom/shared/rpc/unary";
import { parsePublicKeyLine } from "@chom/shared/script/ssh-algorithms";
import type { SessionPorts } from "@chom/shared/script/sessions";
import type { App } from "@chom/shared/service/app";
import { rateCap } from "./rate-cap.ts";
import { checkRunningJob, type JobClaim } from "./running-job.ts";

const minuteMs = 60_000;

/** The RPCs; `ports` hold the keys. Refusals are logged as warnings, signatures as facts. */
export function signerRpc(
  app: Pick<App, "log" | "sealer" | "logger" | "now">,
  ports: SessionPorts,
): RpcService {
  // Far above what a job's steps need, far below what a thief of one worker would want.
  const perJob = rateCap({ max: 60, windowMs: minuteMs });
  const perService = rateCap({ max: 3_000, windowMs: minuteMs });

  async function permitted(claim: JobClaim, caller: Caller): Promise<JobClaim> {
    const { tenant, jobId, fence, serverId } = claim;
    const audit = { service: caller.service ?? "", tenant, jobId, fence, serverId };
    const now = app.now().getTime();
    const service = caller.service ?? "";
    if (!perJob.allow(`${service} ${tenant} ${jobId}`, now) || !perService.allow(service, now)) {
      app.logger.warn(audit, "signer asked too often");
      throw transient("too-many-requests", "the signer is asked too often");
    }
    try {
      await checkRunningJob(app, caller.service, claim);
    } catch (error) {
      app.logger.warn({ ...audit, why: classify(error).message }, "signer refused");
      throw error;
    }
    return { tenant, jobId, fence, serverId };
  }

  const openSession = async (request: OpenSessionRequest, caller: Caller) => {
    const { address, port, user, hostKeys, publicKeys } = await ports.openSession(
      await permitted(request, caller),
      caller.signal,
    );
    return { address, port, user, hostKeys: [...hostKeys], publicKeys: [...publicKeys] };
  };
  const sign = async (request: SignRequest, caller: Caller) => {
    const owner = await permitted(request, caller);
    try {
      const signature = await ports.sign(owner, "", request.data);
      app.logger.info({ ...owner, service: caller.service }, "signed a login");
      return { signature };
    } catch (error) {
      app.logger.warn(
        { ...owner, service: caller.service, why: classify(error).message },
        "signer refused",
      );
      throw error;
    }
  };
  const reportHostKey = async (request: ReportHostKeyRequest, caller: Caller) => {
    const owner = await permitted(request, caller);
    if (request.hostKey.length > 4_096) throw failureOf("signer-refused", "that is no host key");
    parsePublicKeyLine(request.hostKey);
    await ports.reportHostKey(owner, request.hostKey);
    app.logger.error({ ...owner }, "a server showed an unknown host key");
    return {};
  };
  return {
    definition: SignerServiceService,
    implementation: {
      openSession: unary(openSession),
      sign: unary(sign),
      reportHostKey: unary(reportHostKey),
    },
  };
}
