/** What is done with private keys, written into the audit before it takes effect. */
import type { App } from "@chom/shared/service/app";
import type { SessionPorts } from "@chom/shared/script/sessions";
import type { KeyStore } from "./key-store.ts";

type About = {
  readonly tenant: string;
  readonly serverId: string;
  readonly keyId?: string | undefined;
  readonly jobId?: string;
};

/** Stored when it answers; Failure `transient` "log-unavailable" keeps the decision from taking effect. */
export type KeyDecision = (action: string, about: About, reason: string) => Promise<void>;

/** Decisions of this service; the actor is the job that makes them, else the service. */
export const keyDecisions =
  ({ audit, name, now, newId }: Pick<App, "audit" | "name" | "now" | "newId">): KeyDecision =>
  (action, { tenant, serverId, keyId, jobId }, reason) =>
    audit.write(tenant, {
      ...{ id: newId(), at: now().toISOString(), service: name, action, reason },
      actor: jobId ? `job ${jobId}` : name,
      ...{ outcome: "decided", code: "", requestId: "" },
      resources: { serverId, ...(keyId ? { keyId } : {}), ...(jobId ? { jobId } : {}) },
    });

/** A store whose keys are made and forgotten in the audit's sight. */
export const auditedStore = (store: KeyStore, decided: KeyDecision): KeyStore => ({
  async create(address) {
    await decided("key.make", address, "a server gets a key of its own");
    return store.create(address);
  },
  sign: (address, data) => store.sign(address, data),
  async forget(address) {
    await decided("key.forget", address, "nobody may log in with it any more");
    await store.forget(address);
  },
});

/** Ports whose every signature is in the audit before it is given away, like every unknown host key. */
export const auditedPorts = (ports: SessionPorts, decided: KeyDecision): SessionPorts => ({
  openSession: (owner, signal) => ports.openSession(owner, signal),
  async sign(owner, publicKey, data) {
    const signature = await ports.sign(owner, publicKey, data);
    await decided("key.sign", owner, `a login of attempt ${owner.fence}`);
    return signature;
  },
  async reportHostKey(owner, hostKey) {
    await decided("host-key.distrust", owner, "the server showed a host key that is not pinned");
    await ports.reportHostKey(owner, hostKey);
  },
});
