/**
 * A service's tables: made and changed by the role that owns them, used by one that can only read and write rows. So
 * nobody who gets to run any SQL in a serving process can take the wall between tenants down (tenant-wall.ts).
 */
import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { drizzle } from "drizzle-orm/postgres-js";
import { migrate } from "drizzle-orm/postgres-js/migrator";
import type postgres from "postgres";
import { failureOf } from "../failure/failure.ts";
import type { Secret } from "../secrets/secret.ts";
import { connectOnce } from "./postgres.ts";
import { checkTenantWalls, raiseTenantWalls } from "./tenant-wall.ts";

/** What a release's tables are. */
export type Tables = {
  /** Also the schema and the role that uses it; the ledger of migrations is its table `migrations`. */
  readonly service: string;
  /** Tables that every service has: statements that may be repeated. */
  readonly shared: readonly string[];
  /** drizzle's migrations folder; need not exist. */
  readonly folder: URL;
};

export type Migration = Tables & {
  /** Of the role that owns the tables; the role that uses them must be there already. */
  readonly url: Secret;
};

const schemasOf = (service: string) => [service, `${service}_secrets`];

/** Names what a release's tables are, so that a service knows whether they were made. */
function digestOf({ shared, folder }: Tables): string {
  const journal = fileURLToPath(new URL(`${folder.href}/meta/_journal.json`));
  const own = existsSync(journal) ? readFileSync(journal, "utf8") : "";
  return createHash("sha256")
    .update(JSON.stringify([...shared, own]))
    .digest("hex");
}

/**
 * Brings the service's schemas up to date and lets its role use what is in them. Replicas that start together wait for
 * each other: drizzle itself takes no lock and two at once break (measured). Failure `operator` "bad-settings" when
 * there is no role named like the service.
 */
export async function migrateService(migration: Migration): Promise<void> {
  const { url, service, shared } = migration;
  await connectOnce(url, `${service}-migration`, async (sql) => {
    const [role] = await sql`select 1 from pg_roles where rolname = ${service}`;
    if (!role) {
      throw failureOf("bad-settings", `Postgres has no role "${service}" that it could run as`);
    }
    await sql`select pg_advisory_lock(hashtextextended(${`${service}:migrate`}, 0))`;
    for (const schema of schemasOf(service)) {
      await sql`create schema if not exists ${sql(schema)}`;
    }
    for (const statement of shared) await sql.unsafe(statement);
    const folder = fileURLToPath(migration.folder);
    if (existsSync(`${folder}/meta/_journal.json`)) {
      await migrate(drizzle(sql), {
        migrationsFolder: folder,
        migrationsSchema: service,
        migrationsTable: "migrations",
      });
    }
    await raiseTenantWalls(sql, service);
    await sql`create table if not exists ${sql(service)}.made_tables
      (digest text primary key, made_at timestamptz not null default now())`;
    await grantUse(sql, service);
    await sql`insert into ${sql(service)}.made_tables (digest) values (${digestOf(migration)})
      on conflict do nothing`;
  });
}

/** Of the catalogue, which answers also who may not use the schema yet. */
async function isThere(sql: postgres.Sql, schema: string, table: string): Promise<boolean> {
  const found = await sql`
    select 1 from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = ${schema} and c.relname = ${table} and has_schema_privilege(n.oid, 'usage')`;
  return found.length > 0;
}

/** Only the migration writes these. */
const ledgers = ["migrations", "made_tables"];

/**
 * What the service's role may do with each table's rows: what migrations left to the owner itself, so that a table
 * which they made append-only is so for the service; of ledgers only reading. Never more than rows.
 */
const grants = (sql: postgres.Sql, service: string) => sql<{ statement: string }[]>`
  with tables as (
    select c.oid, c.oid::regclass::text as name, n.nspname = ${service} and c.relname in ${sql(ledgers)} as is_ledger
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname in ${sql(schemasOf(service))} and c.relkind in ('r', 'p')
  )
  select format('revoke all on %1$s from %2$I; grant %3$s on %1$s to %2$I', name, ${service}::text,
    string_agg(kind, ', ')) as statement
  from tables, unnest(array['select', 'insert', 'update', 'delete']) kind
  where has_table_privilege(oid, kind) and (kind = 'select' or not is_ledger)
  group by name
  union all
  select format('grant update (%s) on %s to %I', string_agg(quote_ident(attname), ', '), name, ${service}::text)
  from tables join pg_attribute on attrelid = oid and attnum > 0 and not attisdropped
  where not has_table_privilege(oid, 'update') and has_column_privilege(oid, attnum, 'update')
  group by name`;

async function grantUse(sql: postgres.Sql, service: string): Promise<void> {
  const statements = (await grants(sql, service)).map(({ statement }) => statement);
  const to = sql(service);
  // At once: whoever serves meanwhile loses nothing in between.
  await sql.begin(async (tx) => {
    for (const schema of schemasOf(service)) {
      await tx`grant usage on schema ${sql(schema)} to ${to}`;
      await tx`grant usage on all sequences in schema ${sql(schema)} to ${to}`;
    }
    await tx.unsafe(statements.sort((a, b) => Number(a < b) - Number(a > b)).join(";\n"));
  });
}

/**
 * Failure `operator` "schema-behind" when this release's tables were not made yet (a newer release's may be there), and
 * "invalid-config" when a table with a tenant has no wall.
 */
export async function checkTables(url: Secret, tables: Tables): Promise<void> {
  const { service } = tables;
  await connectOnce(url, service, async (sql) => {
    const [made] = (await isThere(sql, service, "made_tables"))
      ? await sql`select 1 from ${sql(service)}.made_tables where digest = ${digestOf(tables)}`
      : [];
    const remedy = "run `main.ts migrate` of it, with CHOM_POSTGRES_OWNER_URL_FILE";
    if (!made) {
      throw failureOf(
        "schema-behind",
        `the tables of this release of ${service} were not made: ${remedy}`,
      );
    }
    await checkTenantWalls(sql, service);
  });
}
