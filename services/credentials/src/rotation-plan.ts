/** Which servers' keys are due: read from the list of servers, the longest overdue first. */
import type { RotationState } from "@chom/proto/chom/credentials/v1/rotations";
import type { Database } from "@chom/shared/projection/database";
import { and, asc, eq, gt, inArray, or, sql } from "drizzle-orm";
import { serverKeys, servers } from "./tables.ts";

const dayMs = 86_400_000;
/** The platform rotates the keys of all tenants. */
const platform = "platform";

/** Days after which a key is due, unless a setting says otherwise. */
export const defaultMaxAgeDays = 90;

export type RotationQuery = {
  readonly tenant: string;
  /** Empty for all servers. */
  readonly serverId: string;
  readonly force: boolean;
  readonly maxAgeDays: number;
  readonly now: Date;
  readonly limit: number;
  readonly after?: { readonly createdAt: Date; readonly id: string } | undefined;
};

/** How old a key is, by the policy. Due from the day on that it is as old as the policy allows. */
export function ageOf(
  lastRotatedAt: Date,
  { maxAgeDays, now, force }: Pick<RotationQuery, "maxAgeDays" | "now" | "force">,
): { daysOverdue: number; due: boolean } {
  const days = Math.floor((now.getTime() - lastRotatedAt.getTime()) / dayMs);
  return { daysOverdue: days - maxAgeDays, due: force || days >= maxAgeDays };
}

/** The state of every server in reach, `limit` at most. */
export async function rotationStates(db: Database, query: RotationQuery): Promise<RotationState[]> {
  const { tenant, serverId, after, limit } = query;
  const last = sql<Date>`coalesce(${servers.rotatedAt}, ${servers.registeredAt})`.mapWith(
    servers.registeredAt,
  );
  const moment = (at: Date) => sql`${at.toISOString()}::timestamptz`;
  const behind =
    after &&
    or(
      gt(last, moment(after.createdAt)),
      and(eq(last, moment(after.createdAt)), gt(servers.serverId, after.id)),
    );
  const rows = await db
    .select({
      ...{ tenant: servers.tenant, serverId: servers.serverId, name: servers.name },
      ...{ status: servers.status, last },
    })
    .from(servers)
    .where(
      and(
        tenant === platform ? undefined : eq(servers.tenant, tenant),
        serverId === "" ? undefined : eq(servers.serverId, serverId),
        behind,
      ),
    )
    .orderBy(asc(last), asc(servers.serverId))
    .limit(limit);
  const rotating = await serversRotating(
    db,
    rows.map((row) => row.serverId),
  );
  return rows.map(({ status, last: lastRotatedAt, ...row }) => ({
    ...row,
    lastRotatedAt,
    ...ageOf(lastRotatedAt, query),
    hindrance: status !== "active" ? status : rotating.has(row.serverId) ? "rotating" : "",
  }));
}

/** Servers with a key that is on its way in or out: the next rotation waits for its end. */
async function serversRotating(db: Database, serverIds: string[]): Promise<ReadonlySet<string>> {
  if (serverIds.length === 0) return new Set();
  const rows = await db
    .select({ serverId: serverKeys.serverId })
    .from(serverKeys)
    .innerJoin(
      servers,
      and(eq(servers.tenant, serverKeys.tenant), eq(servers.serverId, serverKeys.serverId)),
    )
    .where(
      and(
        inArray(serverKeys.serverId, serverIds),
        inArray(serverKeys.status, ["staged", "overlap"]),
        eq(servers.status, "active"),
      ),
    );
  return new Set(rows.map(({ serverId }) => serverId));
}
