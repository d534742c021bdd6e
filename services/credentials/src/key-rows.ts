/** Tenants' keys in Postgres: one row a version, under a lock of the tenant, so that none is added to one that is erased. */
import type { Database, Transaction } from "@chom/shared/projection/database";
import { inTenant } from "@chom/shared/rpc/tenant-scope";
import type { WrappedKey } from "@chom/shared/secrets/key-entry";
import type { KeyRows } from "@chom/shared/secrets/key-issuer";
import { and, asc, count, eq, ne, sql } from "drizzle-orm";
import { erasedTenants, tenantKeys } from "./tables.ts";

/** Keys are made for whom a service names, not only for who calls. */
const everywhere = <T>(work: () => PromiseLike<T>): Promise<T> => inTenant("", work);

const lock = (tx: Transaction, tenant: string) =>
  tx.execute(sql`select pg_advisory_xact_lock(hashtextextended(${`tenant-keys/${tenant}`}, 0))`);

async function erasedAt(db: Database, tenant: string): Promise<Date | undefined> {
  const [row] = await db.select().from(erasedTenants).where(eq(erasedTenants.tenant, tenant));
  return row?.erasedAt;
}

async function destroy(tx: Transaction, tenant: string, at: Date): Promise<number> {
  await lock(tx, tenant);
  await tx.insert(erasedTenants).values({ tenant, erasedAt: at }).onConflictDoNothing();
  const gone = await tx
    .delete(tenantKeys)
    .where(eq(tenantKeys.tenant, tenant))
    .returning({ version: tenantKeys.version });
  return gone.length;
}

async function insert(tx: Transaction, tenant: string, key: WrappedKey, at: Date): Promise<void> {
  await lock(tx, tenant);
  if (await erasedAt(tx, tenant)) return;
  const { version, rootId, wrapped } = key;
  const row = { tenant, version, rootId, wrapped, createdAt: at };
  await tx.insert(tenantKeys).values(row).onConflictDoNothing();
}

export const keyRows = (db: Database, now: () => Date): KeyRows => ({
  find: (tenant) =>
    everywhere(async () => {
      const gone = await erasedAt(db, tenant);
      if (gone) return { state: "erased" as const, erasedAt: gone };
      const keys = await db
        .select()
        .from(tenantKeys)
        .where(eq(tenantKeys.tenant, tenant))
        .orderBy(asc(tenantKeys.version));
      return keys.length === 0 ? undefined : { state: "alive" as const, keys };
    }),
  add: (tenant, key) => everywhere(() => db.transaction((tx) => insert(tx, tenant, key, now()))),
  rewrap: (tenant, rootId, { version, ...box }) =>
    everywhere(async () => {
      const which = [eq(tenantKeys.tenant, tenant), eq(tenantKeys.version, version)];
      await db
        .update(tenantKeys)
        .set(box)
        .where(and(...which, eq(tenantKeys.rootId, rootId)));
    }),
  erase: (tenant, at) => everywhere(() => db.transaction((tx) => destroy(tx, tenant, at))),
});

/** The next tenants with a key that needs another root than this, in order of their ids. */
export async function tenantsToRewrap(
  db: Database,
  newestRoot: string,
  limit: number,
): Promise<string[]> {
  const rows = await db
    .selectDistinct({ tenant: tenantKeys.tenant })
    .from(tenantKeys)
    .where(ne(tenantKeys.rootId, newestRoot))
    .orderBy(asc(tenantKeys.tenant))
    .limit(limit);
  return rows.map(({ tenant }) => tenant);
}

/** How many keys each root wraps. */
export const keysByRoot = (db: Database): Promise<{ root: string; keys: number }[]> =>
  db
    .select({ root: tenantKeys.rootId, keys: count() })
    .from(tenantKeys)
    .groupBy(tenantKeys.rootId)
    .orderBy(asc(tenantKeys.rootId));

/** How many tenants have keys, and how many are erased. */
export async function countTenants(db: Database): Promise<{ alive: number; erased: number }> {
  const [alive] = await db
    .select({ of: sql<number>`count(distinct ${tenantKeys.tenant})::int` })
    .from(tenantKeys);
  const [erased] = await db.select({ of: count() }).from(erasedTenants);
  return { alive: alive?.of ?? 0, erased: erased?.of ?? 0 };
}
