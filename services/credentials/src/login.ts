/** Session ports with the keys at hand: what the signer's RPCs and this service's own jobs log in through. */
import type { Networks } from "@chom/shared/input/networks";
import { hashId } from "@chom/shared/aggregate/id";
import { failureOf, notFound } from "@chom/shared/failure/failure";
import type { SessionPorts } from "@chom/shared/script/sessions";
import type { App } from "@chom/shared/service/app";
import { resolveAddress } from "./address-policy.ts";
import type { KeyStore } from "./key-store.ts";
import { currentKey, type Key, keyOf, type Server, server } from "./server.ts";
import { fingerprintOf } from "./ssh-key.ts";
import { keyToSignWith } from "./signer.ts";

export type LoginParts = {
  readonly app: Pick<App, "load" | "handle">;
  readonly store: KeyStore;
  readonly networks: Networks;
};

/** A key that the server may still accept. */
const usable = ({ status }: Key): boolean => status !== "retired" && status !== "dropped";

/** The keys to offer: one by id when asked for, else the one that opens the server now. */
function offered(state: Server, keyId: string | undefined): Key {
  const key = keyId === undefined ? currentKey(state) : keyOf(state, keyId);
  if (!key) throw failureOf("server-not-ready", "no key is known to open the server");
  if (keyId === undefined || usable(key)) return key;
  throw failureOf("signer-refused", "the key is retired");
}

function usableServer(state: Server, serverId: string): Server {
  if (state.status === "absent") throw notFound("server", serverId);
  if (state.status === "quarantined") {
    throw failureOf(
      "ssh-host-key-mismatch",
      "the server showed an unknown host key and is stopped",
    );
  }
  return state;
}

/**
 * Opens sessions and signs. Codes: server-not-found, server-not-ready, signer-refused, key-missing,
 * ssh-host-key-mismatch for a quarantined server. A reported host key quarantines the server.
 */
export function localSigner({ app, store, networks }: LoginParts): SessionPorts {
  const load = async (tenant: string, serverId: string) =>
    usableServer((await app.load(server, tenant, serverId)).state, serverId);
  return {
    async openSession({ tenant, serverId, keyId }) {
      const state = await load(tenant, serverId);
      const { publicKey } = offered(state, keyId);
      const { port, user, hostKeys } = state;
      const address = await resolveAddress(state.address, networks);
      return { address, port, user, hostKeys, publicKeys: [publicKey] };
    },
    async sign({ tenant, serverId, keyId }, _publicKey, data) {
      const state = await load(tenant, serverId);
      // A login that began before a promotion still asks for the previous key.
      const candidates =
        keyId === undefined ? state.keys.filter(signable) : [offered(state, keyId)];
      const found = keyToSignWith(data, state.user, candidates);
      return store.sign({ tenant, serverId, keyId: found }, data);
    },
    async reportHostKey({ tenant, serverId, jobId, fence }, hostKey) {
      const cause = {
        tenant,
        actor: "signer",
        eventSeed: hashId("host-key", jobId, fence, hostKey),
      };
      const facts = { serverId, jobId, fingerprint: fingerprintOf(hostKey) };
      await app.handle(server, serverId, "distrust", facts, cause);
    },
  };
}

const signable = ({ status }: Key): boolean => status === "current" || status === "overlap";
