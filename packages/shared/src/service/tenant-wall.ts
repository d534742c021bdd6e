/** Row-level security: every table with a tenant shows a caller's queries that caller's rows only. */
import type postgres from "postgres";
import { operator } from "../failure/failure.ts";
import { tenantInScope } from "../rpc/tenant-scope.ts";

/** Sent when a session begins: the system's own work sees all tenants. A session without it sees nothing. */
export const systemSession = { "chom.scope": "system" } as const;

type Table = { schema: string; name: string; tenant: string; walled: boolean };

/**
 * Tables of the service that have a tenant, and whether their wall stands: enabled, forced (the service owns its
 * tables, and owners are exempt otherwise) and of exactly our policy (a second one would open it).
 */
const tenantTables = (sql: postgres.Sql, service: string): Promise<Table[]> => sql<Table[]>`
  select n.nspname as schema, c.relname as name, a.attname as tenant,
    c.relrowsecurity and c.relforcerowsecurity and
      (select array_agg(p.polname::text) from pg_policy p where p.polrelid = c.oid)
        is not distinct from array['tenant_wall'] as walled
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  join pg_attribute a on a.attrelid = c.oid and a.attname in ('tenant', 'owner_tenant')
  where n.nspname in (${service}, ${`${service}_secrets`}) and c.relkind in ('r', 'p')
    and not a.attisdropped
  order by 1, 2`;

const nameOf = ({ schema, name }: Table) => `${schema}.${name}`;

/**
 * Puts the wall around every tenant table that has none, found in the catalogue, so that a new table cannot be
 * forgotten. Only what is missing is changed: altering a table waits for its readers.
 */
export async function raiseTenantWalls(sql: postgres.Sql, service: string): Promise<void> {
  for (const table of await tenantTables(sql, service)) {
    if (table.walled) continue;
    const at = sql`${sql(table.schema)}.${sql(table.name)}`;
    const fits = sql`(current_setting('chom.scope', true) = 'system'
      or ${sql(table.tenant)} = current_setting('chom.tenant', true))`;
    await sql.begin(async (tx) => {
      await tx`alter table ${at} enable row level security`;
      await tx`alter table ${at} force row level security`;
      await tx`drop policy if exists tenant_wall on ${at}`;
      await tx`create policy tenant_wall on ${at} using ${fits} with check ${fits}`;
    });
  }
  await checkTenantWalls(sql, service);
}

/** Tables with a tenant whose wall does not stand. */
export const openWalls = async (sql: postgres.Sql, service: string): Promise<string[]> =>
  (await tenantTables(sql, service)).filter(({ walled }) => !walled).map(nameOf);

/** Failure `operator` "invalid-config" naming every tenant table without the forced policy. */
export async function checkTenantWalls(sql: postgres.Sql, service: string): Promise<void> {
  const open = await openWalls(sql, service);
  if (open.length > 0) {
    throw operator("invalid-config", `no row-level security on ${open.join(", ")}`);
  }
}

type Unsafe = postgres.Sql["unsafe"];
type Work = (tx: postgres.TransactionSql) => unknown;

const limit = (tx: postgres.TransactionSql, tenant: string) =>
  tx`select set_config('chom.scope', '', true), set_config('chom.tenant', ${tenant}, true)`;

/** One query in a transaction of its own that begins with the tenant; sent together, so it costs no extra wait. */
function queryAs(sql: postgres.Sql, tenant: string, ...query: Parameters<Unsafe>) {
  const run = (asValues: boolean) =>
    sql.begin(async (tx) => {
      const set = limit(tx, tenant).execute();
      const pending = tx.unsafe(...query);
      // Before the query in the same pipeline: should it fail, the query fails with it.
      const [, rows] = await Promise.all([set, asValues ? pending.values() : pending]);
      return rows;
    });
  return run;
}

/**
 * The client as drizzle uses it (`unsafe` and `begin`), limited to the tenant in scope. Out of a caller's scope it is
 * the client itself.
 */
export function walled(sql: postgres.Sql): postgres.Sql {
  const unsafe = ((...query: Parameters<Unsafe>) => {
    const tenant = tenantInScope();
    if (tenant === undefined) return sql.unsafe(...query);
    const run = queryAs(sql, tenant, ...query);
    return {
      values: () => run(true),
      then: (...next: Parameters<Promise<unknown>["then"]>) => run(false).then(...next),
    };
  }) as unknown as Unsafe;
  const begin = (...given: readonly unknown[]) => {
    const tenant = tenantInScope();
    const work = given.at(-1) as Work;
    const limited: Work = async (tx) => {
      if (tenant !== undefined) await limit(tx, tenant);
      return work(tx);
    };
    const options = given.length > 1 ? String(given[0]) : "";
    return options === "" ? sql.begin(limited) : sql.begin(options, limited);
  };
  return new Proxy(sql, {
    get: (target, name, receiver) =>
      name === "unsafe" ? unsafe : name === "begin" ? begin : Reflect.get(target, name, receiver),
  });
}
