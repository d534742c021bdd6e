/** PostgreSQL by its own programs: pg_dump in plain SQL, psql to bring it back. The password travels in a PGPASSFILE. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type Failure, failureOf } from "@chom/shared/failure/failure";
import type { Place } from "./database-sources.ts";
import type { DatabaseTools, Use } from "./database-tools.ts";
import { inspectPostgresDump } from "./postgres-dump.ts";
import { askTool, feedTool, findTool, readTool, type Tool } from "./run-tool.ts";

const remedy =
  "install PostgreSQL's client programs of the server's major version or newer (Debian: postgresql-client)";

/** What the last words of pg_dump and psql mean: pattern, code. */
const meanings: readonly (readonly [RegExp, string])[] = [
  [/server version mismatch/, "incompatible-engine"],
  [
    /password authentication failed|no pg_hba\.conf entry|permission denied|must be (?:owner|superuser)/,
    "db-auth",
  ],
  [/database "[^"]*" does not exist/, "db-missing"],
  [/database "[^"]*" already exists/, "name-taken"],
  [/too many clients|remaining connection slots/, "db-too-many-connections"],
  [
    /could not connect|connection to server|server closed the connection|starting up/,
    "db-gone-away",
  ],
  [/No space left on device/, "disk-full"],
  [/canceling statement due to lock timeout/, "db-locked"],
];

function explain(said: string, code: number | null): Failure {
  const found = meanings.find(([pattern]) => pattern.test(said))?.[1] ?? "dump-incomplete";
  const hint = found === "incompatible-engine" ? `; ${remedy}` : "";
  const last = said.split("\n").slice(-3).join(" ").slice(0, 400);
  return failureOf(found, `PostgreSQL's program ended with ${code}: ${last}${hint}`);
}

const quote = (name: string): string => `"${name.replaceAll('"', '""')}"`;

/** The program with its connection; nothing secret in arguments or environment. */
async function toolFor(
  place: Place,
  { folder, toolFolders, signal }: Use,
  [name, ...args]: readonly [string, ...string[]],
): Promise<Tool> {
  const passFile = join(folder, "pgpass");
  const password = place.password.reveal().replaceAll("\\", "\\\\").replaceAll(":", "\\:");
  await writeFile(passFile, `*:*:*:*:${password}\n`, { mode: 0o600 });
  const { sslmode, sslrootcert, socket } = place.options;
  return {
    program: findTool(toolFolders, [name], remedy),
    args,
    env: {
      PGHOST: socket ?? place.host,
      PGPORT: String(place.port),
      PGUSER: place.user,
      PGDATABASE: place.database,
      PGPASSFILE: passFile,
      PGCONNECT_TIMEOUT: "15",
      PGAPPNAME: "chom-backup",
      ...(sslmode ? { PGSSLMODE: sslmode } : {}),
      ...(sslrootcert ? { PGSSLROOTCERT: sslrootcert } : {}),
    },
    signal,
    explain,
  };
}

const psql = ["psql", "--no-psqlrc", "--quiet", "--no-password", "--set=ON_ERROR_STOP=1"] as const;

async function ask(place: Place, use: Use, sql: string): Promise<string> {
  const args = ["--tuples-only", "--no-align", "--field-separator= ", `--command=${sql}`];
  return (await askTool(await toolFor(place, use, [...psql, ...args]))).trim();
}

/** Plain tables alone: a partitioned one holds nothing itself, and extensions bring their own. */
const countSql = `select count(*), coalesce(sum((xpath('/row/c/text()', query_to_xml(
  format('select count(*) as c from only %I.%I', n.nspname, c.relname), false, true, '')))[1]::text::bigint), 0)
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where c.relkind = 'r' and c.relpersistence <> 't' and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
  and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')`;

export const postgresTools: DatabaseTools = {
  engine: "postgres",
  fileName: "dump.sql",
  async dump(place, use) {
    const wait = "--lock-wait-timeout=60s";
    const tool = await toolFor(place, use, ["pg_dump", "--format=plain", "--no-password", wait]);
    const version = await askTool({ ...tool, args: ["--version"] });
    const size = "select pg_database_size(current_database())";
    const estimatedBytes = Number(await ask(place, use, size).catch(() => 0));
    const { stream: watching, counted } = inspectPostgresDump();
    return { stream: readTool(tool), watching, counted, tool: version.trim(), estimatedBytes };
  },
  canRestore({ toolFolders }) {
    try {
      return findTool(toolFolders, ["psql"], remedy) !== "";
    } catch {
      return false;
    }
  },
  async create(place, name, use) {
    await ask(place, use, `create database ${quote(name)} template template0`);
  },
  async restore(place, name, content, use) {
    const there = { ...place, database: name };
    const tool = await toolFor(there, use, [...psql, "--single-transaction"]);
    await feedTool(tool, content);
  },
  async count(place, name, use) {
    const answer = await ask({ ...place, database: name }, use, countSql);
    const [tables = 0, rows = 0] = answer.split(" ").map(Number);
    return { tables, rows };
  },
  async drop(place, name, use) {
    await ask(place, use, `drop database if exists ${quote(name)} with (force)`);
  },
};
