/** Reads of servers from the read model; every query is of one tenant. */
import {
  KeyStatus,
  type Server,
  type ServerKey,
  ServerStatus,
} from "@chom/proto/chom/credentials/v1/credentials";
import { notFound } from "@chom/shared/failure/failure";
import type { Database } from "@chom/shared/projection/database";
import { decodeToken, encodeToken, pageOf } from "@chom/shared/rpc/page-token";
import type { App } from "@chom/shared/service/app";
import { and, asc, desc, eq, inArray, lt, or } from "drizzle-orm";
import { serverKeys, servers } from "./tables.ts";

const statuses: Readonly<Record<string, ServerStatus>> = {
  pending: ServerStatus.PENDING,
  active: ServerStatus.ACTIVE,
  quarantined: ServerStatus.QUARANTINED,
};
const keyStatuses: Readonly<Record<string, KeyStatus>> = {
  staged: KeyStatus.STAGED,
  current: KeyStatus.CURRENT,
  overlap: KeyStatus.OVERLAP,
  retired: KeyStatus.RETIRED,
};

type Row = typeof servers.$inferSelect;
type KeyRow = typeof serverKeys.$inferSelect;

const keyOf = (row: KeyRow): ServerKey => ({
  keyId: row.keyId,
  publicKey: row.publicKey,
  fingerprint: row.fingerprint,
  status: keyStatuses[row.status] ?? KeyStatus.UNSPECIFIED,
  createdAt: row.createdAt,
  retireAt: row.retireAt ?? undefined,
});

const serverOf = (row: Row, keys: readonly KeyRow[]): Server => ({
  serverId: row.serverId,
  name: row.name,
  address: row.address,
  port: row.port,
  user: row.user,
  hostKeys: [...row.hostKeys],
  status: statuses[row.status] ?? ServerStatus.UNSPECIFIED,
  // A dropped key never became one of the server's.
  keys: keys.filter((key) => key.serverId === row.serverId && key.status !== "dropped").map(keyOf),
  registeredAt: row.registeredAt,
  rotatedAt: row.rotatedAt ?? undefined,
});

const keysOf = (db: Database, tenant: string, serverIds: string[]): Promise<KeyRow[]> =>
  serverIds.length === 0
    ? Promise.resolve([])
    : db
        .select()
        .from(serverKeys)
        .where(and(eq(serverKeys.tenant, tenant), inArray(serverKeys.serverId, serverIds)))
        .orderBy(asc(serverKeys.createdAt), asc(serverKeys.keyId));

/** One server with its keys; Failure `not-found` for another tenant's, too. */
export async function findServer(db: Database, tenant: string, serverId: string): Promise<Server> {
  const mine = and(eq(servers.tenant, tenant), eq(servers.serverId, serverId));
  const [row] = await db.select().from(servers).where(mine);
  if (!row) throw notFound("server", serverId);
  return serverOf(row, await keysOf(db, tenant, [serverId]));
}

/** A page of the tenant's servers, newest first. */
export async function listServers(
  { db, sealer }: Pick<App, "db" | "sealer">,
  tenant: string,
  { pageSize, pageToken }: { pageSize: number; pageToken: string },
): Promise<{ servers: Server[]; nextPageToken: string }> {
  const scope = { tenant, list: "servers" };
  const after = decodeToken(sealer, scope, pageToken);
  const older =
    after &&
    or(
      lt(servers.registeredAt, after.createdAt),
      and(eq(servers.registeredAt, after.createdAt), lt(servers.serverId, after.id)),
    );
  const found = await db
    .select()
    .from(servers)
    .where(and(eq(servers.tenant, tenant), older))
    .orderBy(desc(servers.registeredAt), desc(servers.serverId))
    .limit(pageSize + 1);
  const { rows, nextPageToken } = pageOf(found, pageSize, (last) =>
    encodeToken(sealer, scope, { createdAt: last.registeredAt, id: last.serverId }),
  );
  const keys = await keysOf(
    db,
    tenant,
    rows.map(({ serverId }) => serverId),
  );
  return { servers: rows.map((row) => serverOf(row, keys)), nextPageToken };
}
