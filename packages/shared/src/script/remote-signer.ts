/** The signer as the other services see it: keys stay in the credentials service, only signatures come out. */
import type { SignerServiceService } from "@chom/proto/chom/credentials/v1/credentials";
import { classify, type Failure, failureOf } from "../failure/failure.ts";
import type { Calls } from "../rpc/client.ts";
import type { SessionOwner, SessionPorts } from "./sessions.ts";

// Shorter than the login's own limit, so that a slow signer is named as such.
const deadlineMs = 5_000;

/** Failures that mean no: asking again would be refused again. */
const refusals: ReadonlySet<Failure["kind"]> = new Set([
  "invalid",
  "not-found",
  "rejected",
  "security",
]);

/** Codes that the caller must see as they are. */
const kept: ReadonlySet<string> = new Set([
  "signer-refused",
  "server-not-ready",
  "ssh-host-key-mismatch",
]);

function mapped(error: unknown): Failure {
  const failure = classify(error);
  if (kept.has(failure.code)) return failureOf(failure.code, failure.message, { cause: error });
  const code = refusals.has(failure.kind) ? "signer-refused" : "signer-unavailable";
  return failureOf(code, failure.message, { cause: error });
}

const requestOf = ({ tenant, jobId, fence, serverId }: SessionOwner) => ({
  tenant,
  jobId,
  fence,
  serverId,
});

async function answered<T>(call: Promise<T>): Promise<T> {
  try {
    return await call;
  } catch (error) {
    throw mapped(error);
  }
}

/**
 * Session ports over gRPC. `calls` must be connected with the service's own mutual-TLS identity. Codes:
 * signer-unavailable (nobody answered within 5 s), signer-refused, server-not-ready,
 * ssh-host-key-mismatch (the server is quarantined).
 */
export const remoteSigner = (calls: Calls<typeof SignerServiceService>): SessionPorts => ({
  openSession: async (owner, signal) => {
    const { address, port, user, hostKeys, publicKeys } = await answered(
      calls.openSession(requestOf(owner), { deadlineMs, signal }),
    );
    return { address, port, user, hostKeys, publicKeys };
  },
  sign: async (owner, _publicKey, data) => {
    const request = { ...requestOf(owner), data };
    return (await answered(calls.sign(request, { deadlineMs }))).signature;
  },
  reportHostKey: async (owner, hostKey) => {
    await answered(calls.reportHostKey({ ...requestOf(owner), hostKey }, { deadlineMs }));
  },
});
