/** Installs a server's first key with a one-time credential, and proves that the key opens the server. */
import { randomUUID } from "node:crypto";
import type { Secret } from "@chom/shared/secrets/secret";
import type { RunContext } from "@chom/shared/script/servers";
import type { SessionPorts } from "@chom/shared/script/sessions";
import type { Login } from "@chom/shared/script/ssh";
import { sshServers } from "@chom/shared/script/ssh-servers";
import type { Logger } from "@chom/shared/telemetry/logger";
import type { KeyLines } from "./key-lines.ts";
import { addKey, installRunner, proveLogin } from "./scripts.ts";
import type { Key, Server } from "./server.ts";
import { blobOf } from "./ssh-key.ts";

type OneTime = { readonly password?: Secret; readonly privateKey?: Secret };

export type InstallRequest = {
  readonly tenant: string;
  readonly serverId: string;
  readonly state: Server;
  readonly key: Key;
  readonly lines: KeyLines;
  readonly oneTime: OneTime;
  readonly signal: AbortSignal;
};

const loginOf = ({ password, privateKey }: OneTime): Login | undefined => {
  if (privateKey) return { privateKey };
  return password ? { password } : undefined;
};

/**
 * Uses the one-time credential for one login and keeps it nowhere; with none, the operator has installed the line.
 * Returns only after a fresh login with the system's key alone became root. Codes: those of a login.
 */
export async function installKey(
  ports: SessionPorts,
  logger: Logger,
  request: InstallRequest,
): Promise<void> {
  const { serverId, tenant, key, state, lines, signal } = request;
  // No job and no fence: its own lease key on the server, and a run that is never found again.
  const context = (keyId?: string): RunContext => ({
    tenant,
    jobId: `install-${randomUUID()}`,
    fence: "0.0",
    serverId,
    leaseKeys: [`install.${serverId}`],
    step: "install",
    signal,
    ...(keyId === undefined ? {} : { keyId }),
  });
  const oneTime = loginOf(request.oneTime);
  if (oneTime) {
    const once = sshServers({
      ...ports,
      logger,
      openSession: async (owner, stop) => ({
        ...(await ports.openSession({ ...owner, keyId: key.keyId }, stop)),
        oneTime,
      }),
    });
    try {
      const comment = `chom:${serverId}:${key.keyId}`;
      if (lines.runner) await once.run(context(), installRunner, lines);
      const ours = { user: state.user, blob: blobOf(key.publicKey), comment, lines };
      await once.run(context(), addKey, ours);
    } finally {
      await once.close();
    }
  }
  const servers = sshServers({ ...ports, logger });
  try {
    await servers.run(context(key.keyId), proveLogin, { user: state.user });
  } finally {
    await servers.close();
  }
}
