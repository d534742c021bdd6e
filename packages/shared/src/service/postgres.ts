/** A service's Postgres: its role's connection pool, and locks that hold over replicas. */
import { drizzle } from "drizzle-orm/postgres-js";
import postgres from "postgres";
import { transient } from "../failure/failure.ts";
import type { Database } from "../projection/database.ts";
import type { Secret } from "../secrets/secret.ts";
import { systemSession, walled } from "./tenant-wall.ts";

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

/** One connection for `work`, which it takes with it when it ends. */
export async function connectOnce<T>(
  url: Secret,
  name: string,
  work: (sql: postgres.Sql) => Promise<T>,
): Promise<T> {
  const sql = connect(url, 1, name);
  try {
    return await work(sql);
  } finally {
    // Ending the session gives its locks back.
    await sql.end({ timeout: 5 });
  }
}
