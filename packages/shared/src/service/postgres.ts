/** A service's Postgres: its role's connection pool, its migrations, and locks that hold over replicas. */
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { drizzle } from "drizzle-orm/postgres-js";
import { migrate } from "drizzle-orm/postgres-js/migrator";
import postgres from "postgres";
import { operator, transient } from "../failure/failure.ts";
import type { Database } from "../projection/database.ts";
import type { Secret } from "../secrets/secret.ts";
import { raiseTenantWalls, systemSession, walled } from "./tenant-wall.ts";

export type Postgres = {
  /** In a caller's scope (rpc/tenant-scope.ts) it sees that tenant's rows only. */
  readonly db: Database;
  readonly sql: postgres.Sql;
  /** The same database for statements of the service's schema, which they find in another one; on connections of its own. */
  readonly elsewhere: (schema: string) => Database;
  /** Runs `work` when no other replica holds the lock of this name; answers whether it did. */
  exclusively(name: string, work: () => Promise<void>): Promise<boolean>;
  /** Throws when the database does not answer within 3 s. */
  check(): Promise<void>;
  close(): Promise<void>;
};

const connect = (url: Secret, max: number, service: string) =>
  postgres(url.reveal(), {
    max,
    // Postgres notices like "schema exists, skipping" are no news.
    onnotice: () => {},
    // The driver's own query for array types rejects unheard when the connection is cut during it, which ends the
    // process; drizzle reads and writes arrays without it.
    fetch_types: false,
    connect_timeout: 10,
    idle_timeout: 60,
    connection: { application_name: `chom-${service}`, TimeZone: "UTC", ...systemSession },
  });

/** Opens a pool of at most `max` connections (default 10); it connects on first use. */
export function openPostgres(url: Secret, service: string, max = 10): Postgres {
  const sql = connect(url, max, service);
  // Locks have a pool of their own: long holders must not starve queries.
  const locks = connect(url, 12, service);
  // So has whoever is asked within a transaction of the first: it must not wait for those who wait for that one.
  const builds = connect(url, 2, service);
  return {
    // drizzle's type differs from the port's by its driver only.
    db: drizzle(walled(sql)) as unknown as Database,
    sql,
    elsewhere: (schema) => drizzle(redirected(builds, service, schema)) as unknown as Database,
    exclusively: (name, work) => withLock(locks, `${service}:${name}`, work),
    async check() {
      const late = new Promise<never>((_, reject) =>
        setTimeout(() => reject(transient("db-gone-away", "Postgres is silent")), 3_000).unref(),
      );
      await Promise.race([sql`select 1`, late]);
    },
    async close() {
      await Promise.all([sql, locks, builds].map((pool) => pool.end({ timeout: 5 })));
    },
  };
}

/** Statements name their tables as drizzle quotes them, and hold no values. */
function redirected<Sql extends postgres.Sql | postgres.TransactionSql>(
  sql: Sql,
  from: string,
  to: string,
): Sql {
  type Within = (tx: postgres.TransactionSql) => unknown;
  const within = (work: unknown) => (tx: postgres.TransactionSql) =>
    (work as Within)(redirected(tx, from, to));
  return new Proxy(sql, {
    get(target, name, receiver) {
      const own: unknown = Reflect.get(target, name, receiver);
      if (typeof own !== "function") return own;
      if (name === "unsafe") {
        return (text: string, ...rest: unknown[]) =>
          Reflect.apply(own, target, [text.replaceAll(`"${from}".`, `"${to}".`), ...rest]);
      }
      if (name !== "begin" && name !== "savepoint") return own;
      return (...given: unknown[]) =>
        Reflect.apply(own, target, given.with(-1, within(given.at(-1))));
    },
  });
}

async function withLock(sql: postgres.Sql, name: string, work: () => Promise<void>) {
  const session = await sql.reserve();
  try {
    const [got] = await session<{ held: boolean }[]>`
      select pg_try_advisory_lock(hashtextextended(${name}, 0)) as held`;
    if (!got?.held) return false;
    try {
      await work();
    } finally {
      await session`select pg_advisory_unlock(hashtextextended(${name}, 0))`;
    }
    return true;
  } finally {
    session.release();
  }
}

/**
 * Failure `operator` "bad-settings" when the role of the URL is, or may become, a superuser or one that row-level
 * security does not bind: then the wall between tenants would be none. The role may own its tables; the wall is forced.
 */
export async function checkRole(url: Secret, service: string): Promise<void> {
  const sql = connect(url, 1, service);
  try {
    const found = await sql<{ role: string; power: string }[]>`
      select rolname as role, case when rolsuper then 'is a superuser'
        else 'is not bound by row-level security' end as power
      from pg_roles
      where (rolsuper or rolbypassrls) and pg_has_role(current_user, oid, 'member')
      order by rolname <> current_user, rolname`;
    const [first] = found;
    if (!first) return;
    const why = `its role is, or may become, "${first.role}", which ${first.power}`;
    throw operator("bad-settings", `CHOM_POSTGRES_URL_FILE: ${why}; give ${service} a plain role`);
  } finally {
    await sql.end({ timeout: 5 });
  }
}

export type Migration = {
  readonly url: Secret;
  /** Also the schema; the ledger of migrations is its table `migrations`. */
  readonly service: string;
  /** Tables that every service has: statements that may be repeated. */
  readonly shared: readonly string[];
  /** drizzle's migrations folder; need not exist. */
  readonly folder: URL;
};

/**
 * Brings the service's schemas up to date. Replicas that start together wait for each other: drizzle itself takes
 * no lock and two at once break (measured).
 */
export async function migrateService(migration: Migration): Promise<void> {
  const { url, service, shared } = migration;
  const sql = connect(url, 1, service);
  try {
    await sql`select pg_advisory_lock(hashtextextended(${`${service}:migrate`}, 0))`;
    for (const schema of [service, `${service}_secrets`]) {
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
  } finally {
    // Ending the session gives the lock back.
    await sql.end({ timeout: 5 });
  }
}
