/** Servers and their keys as they are listed. */
import { projection } from "@chom/shared/projection/projection";
import { and, eq } from "drizzle-orm";
import { type KeyStatus, serverEvents } from "./server.ts";
import type { Transaction } from "@chom/shared/projection/database";
import { serverKeys, servers } from "./tables.ts";

type At = { readonly tenant: string; readonly id: string };
const ofServer = ({ tenant, id }: At) => and(eq(servers.tenant, tenant), eq(servers.serverId, id));
const ofKey = ({ tenant, id }: At, keyId: string) =>
  and(eq(serverKeys.tenant, tenant), eq(serverKeys.serverId, id), eq(serverKeys.keyId, keyId));

const setKey = (tx: Transaction, at: At, keyId: string, status: KeyStatus) =>
  tx.update(serverKeys).set({ status }).where(ofKey(at, keyId));

type Made = { keyId: string; publicKey: string; fingerprint: string };
const addKeyRow = (tx: Transaction, { tenant, id, time }: At & { time: Date }, key: Made) =>
  tx
    .insert(serverKeys)
    .values({
      tenant,
      serverId: id,
      keyId: key.keyId,
      publicKey: key.publicKey,
      fingerprint: key.fingerprint,
      status: "staged",
      createdAt: time,
    })
    .onConflictDoNothing();

/** Rows of `servers` and `server_keys`. */
export const serverList = projection({
  name: "server-list",
  source: { stream: "EVENTS", aggregate: "server" },
  rebuild: { tables: [servers, serverKeys] },
  from: serverEvents,
  on: {
    ServerRegistered: ({ name, address, port, user, hostKeys }, { tenant, id, time }, tx) =>
      tx
        .insert(servers)
        .values({
          tenant,
          serverId: id,
          ...{ name, address, port, user, hostKeys },
          status: "pending",
          registeredAt: time,
        })
        .onConflictDoNothing(),
    KeyCreated: (key, meta, tx) => addKeyRow(tx, meta, key),
    KeyStaged: (key, meta, tx) => addKeyRow(tx, meta, key),
    async ServerActivated({ keyId }, meta, tx) {
      await tx.update(servers).set({ status: "active" }).where(ofServer(meta));
      await setKey(tx, meta, keyId, "current");
    },
    HostKeyMismatched: (_, meta, tx) =>
      tx.update(servers).set({ status: "quarantined" }).where(ofServer(meta)),
    async KeyPromoted({ keyId, previousKeyId, retireAt }, meta, tx) {
      await tx
        .update(serverKeys)
        .set({ status: "overlap", retireAt: retireAt ?? meta.time })
        .where(ofKey(meta, previousKeyId));
      await setKey(tx, meta, keyId, "current");
      await tx.update(servers).set({ rotatedAt: meta.time }).where(ofServer(meta));
    },
    KeyRetired: ({ keyId }, meta, tx) => setKey(tx, meta, keyId, "retired"),
    KeyRotationFailed: ({ keyId }, meta, tx) =>
      tx
        .update(serverKeys)
        .set({ status: "dropped" })
        .where(and(ofKey(meta, keyId), eq(serverKeys.status, "staged"))),
  },
});
