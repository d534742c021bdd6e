/** What of credentials every other service needs, for tests that start none: it makes tenants' keys, and forgets them at the end. */
import { randomBytes } from "node:crypto";
import { KeysServiceService } from "@chom/proto/chom/credentials/v1/keys";
import { permissions } from "@chom/proto/permissions";
import type { JSONWebKeySet } from "jose";
import type { Nats } from "../event-log/nats.ts";
import { startRpcServer, type TlsIdentity } from "../rpc/server.ts";
import { type RpcService, unary } from "../rpc/unary.ts";
import { entryText, type KeyEntry, type WrappedKey } from "../secrets/key-entry.ts";
import { type KeyIssuer, keyIssuer, type KeyRows } from "../secrets/key-issuer.ts";
import { readRootKeys } from "../secrets/keyring.ts";
import { fileRoots } from "../secrets/root-keys.ts";
import { keyShelf } from "../service/key-directory.ts";
import { quietLogger } from "./memory-engine.ts";

/** Rows in memory, as Postgres keeps them. */
export function memoryKeyRows(): KeyRows {
  const keys = new Map<string, Map<number, WrappedKey>>();
  const erased = new Map<string, Date>();
  return {
    async find(tenant): Promise<KeyEntry | undefined> {
      const erasedAt = erased.get(tenant);
      if (erasedAt) return { state: "erased", erasedAt };
      const found = keys.get(tenant);
      return found && { state: "alive", keys: [...found.values()] };
    },
    async add(tenant, key) {
      if (erased.has(tenant)) return;
      const mine = keys.get(tenant) ?? new Map<number, WrappedKey>();
      if (!mine.has(key.version)) mine.set(key.version, key);
      keys.set(tenant, mine);
    },
    async rewrap(tenant, rootId, key) {
      const mine = keys.get(tenant);
      if (mine?.get(key.version)?.rootId === rootId) mine.set(key.version, key);
    },
    async erase(tenant, at) {
      const count = keys.get(tenant)?.size ?? 0;
      keys.delete(tenant);
      if (!erased.has(tenant)) erased.set(tenant, at);
      return count;
    },
  };
}

export type KeyMaker = {
  readonly address: string;
  readonly issuer: KeyIssuer;
  readonly stop: () => Promise<void>;
};

/** Answers services over mutual TLS, as credentials does. `nats` must be that user's connection. */
export async function startKeyMaker(parts: {
  nats: Nats;
  rootKeyFile: string;
  tls: TlsIdentity;
  tokenKeys: JSONWebKeySet;
}): Promise<KeyMaker> {
  const { nats, rootKeyFile, tls, tokenKeys } = parts;
  const roots = fileRoots(readRootKeys(rootKeyFile), randomBytes);
  const issuer = keyIssuer({
    ...{ rows: memoryKeyRows(), shelf: keyShelf(nats), roots, random: randomBytes },
  });
  const refuse = unary(() => Promise.reject(new Error("only keys are made here")));
  const names = Object.keys(KeysServiceService);
  const service: RpcService = {
    definition: KeysServiceService,
    implementation: {
      ...Object.fromEntries(names.map((name) => [name, refuse])),
      makeTenantKey: unary(async ({ tenant }: { tenant: string }) => ({
        entry: entryText(await issuer.make(tenant)),
      })),
    },
  };
  const server = await startRpcServer({
    ...{ listen: "127.0.0.1:0", tls, tokenKeys, permissions, services: [service] },
    ...{ reflection: false, logger: quietLogger },
  });
  server.setServing(true);
  return { address: server.address, issuer, stop: () => server.close(200) };
}
