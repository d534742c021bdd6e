/** SignerService: log-ins of other services' running jobs. Every call is checked against the journal anew. */
import {
  type OpenSessionRequest,
  type ReportHostKeyRequest,
  SignerServiceService,
  type SignRequest,
} from "@chom/proto/chom/credentials/v1/credentials";
import { classify, failureOf } from "@chom/shared/failure/failure";
import { type Caller, type RpcService, unary } from "@chom/shared/rpc/unary";
import { parsePublicKeyLine } from "@chom/shared/script/ssh-algorithms";
import type { SessionPorts } from "@chom/shared/script/sessions";
import type { App } from "@chom/shared/service/app";
import { checkRunningJob, type JobClaim } from "./running-job.ts";
import type { SignerGuard } from "./signer-guard.ts";

/** The RPCs; `ports` hold the keys, `guard` counts. Signatures are logged; refusals are the guard's to tell. */
export function signerRpc(
  app: Pick<App, "log" | "sealer" | "logger" | "now">,
  { ports, guard }: { ports: SessionPorts; guard: SignerGuard },
): RpcService {
  async function permitted(claim: JobClaim, caller: Caller): Promise<JobClaim> {
    const { tenant, jobId, fence, serverId } = claim;
    const service = caller.service ?? "";
    try {
      guard.admit(service, claim);
      await checkRunningJob(app, caller.service, claim);
    } catch (error) {
      refused(claim, caller, error);
      throw error;
    }
    return { tenant, jobId, fence, serverId };
  }

  function refused(claim: JobClaim, caller: Caller, error: unknown): void {
    const failure = classify(error);
    // A server that is quarantined is no fault of who asks for it.
    if (failure.code === "signer-refused") guard.refused(caller.service ?? "", claim, failure);
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
      refused(owner, caller, error);
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
