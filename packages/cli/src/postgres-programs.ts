/** pg_dump, pg_restore and psql, as children whose password nobody sees. */
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { failureOf } from "@chom/shared/failure/failure";
import { scrub } from "@chom/shared/secrets/scrub";
import type { Secret } from "@chom/shared/secrets/secret";

/** A database, and where the programs are; `""` for those in PATH. */
export type Place = { readonly url: Secret; readonly tools: string };

const saidMax = 2_000;
const escaped = (text: string): string => text.replaceAll(/[\\:]/g, String.raw`\$&`);

/** The environment that points the programs to the database, and how to take the password's file away. */
function pointing(secret: Secret) {
  const url = new URL(secret.reveal());
  const part = (text: string) => decodeURIComponent(text);
  const [host, port] = [url.hostname, url.port || "5432"];
  const [user, database] = [part(url.username), part(url.pathname.slice(1))];
  const folder = mkdtempSync(join(tmpdir(), "chom-system-"));
  const file = join(folder, "pgpass");
  const line = [host, port, database, user, part(url.password)].map(escaped).join(":");
  writeFileSync(file, `${line}\n`, { mode: 0o600 });
  const env = {
    ...{ PGHOST: host, PGPORT: port, PGDATABASE: database, PGUSER: user, PGPASSFILE: file },
    ...{ PGSSLMODE: url.searchParams.get("sslmode") ?? "prefer", LC_ALL: "C.UTF-8" },
  };
  return { env, end: () => rmSync(folder, { recursive: true, force: true }) };
}

/** Starts one program; `ended` fails with "tool-missing", or "dump-failed" and its last words, unless it ends well. */
function start(tools: string, [program, ...args]: readonly [string, ...string[]], env: object) {
  const child = spawn(tools === "" ? program : join(tools, program), args, {
    env: { PATH: process.env["PATH"], HOME: "/nonexistent", ...env },
  });
  let said = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    said = (said + text).slice(-saidMax);
  });
  const ended = new Promise<void>((resolve, reject) => {
    child.on("error", () => reject(failureOf("tool-missing", `${program} is not here`)));
    child.on("close", (code) => {
      const why = `${program} ended with ${code}: ${scrub(said, 500)}`;
      if (code === 0) resolve();
      else reject(failureOf("dump-failed", why));
    });
  });
  ended.catch(() => undefined);
  return { child, ended };
}

/** What one program writes; `input` goes in. Nothing is done before it is read. */
async function* output(
  { url, tools }: Place,
  command: readonly [string, ...string[]],
  input?: AsyncIterable<Uint8Array>,
): AsyncGenerator<Buffer> {
  const { env, end } = pointing(url);
  try {
    const { child, ended } = start(tools, command, env);
    // A child that ends early closes its input: its own words say why.
    const fed = pipeline(Readable.from(input ?? []), child.stdin).catch(() => undefined);
    yield* child.stdout as AsyncIterable<Buffer>;
    await ended;
    await fed;
  } finally {
    end();
  }
}

/** The whole database in pg_dump's own format. */
export const dumped = (place: Place): AsyncIterable<Buffer> =>
  output(place, ["pg_dump", "--format=custom", "--no-password"]);

/** Fills the database in one transaction; its roles must be there. */
export async function restoreDump(place: Place, dump: AsyncIterable<Uint8Array>): Promise<void> {
  const how = ["--no-password", "--single-transaction", "--clean", "--if-exists"] as const;
  const into = new URL(place.url.reveal()).pathname.slice(1);
  for await (const _ of output(place, ["pg_restore", ...how, "--dbname", into], dump));
}

/** Each row of a query that answers one text without line breaks. */
export async function* rowsOf(place: Place, query: string): AsyncGenerator<string> {
  const written = Readable.from(output(place, ["psql", "-w", "-X", "-At", "-c", query]));
  for await (const line of createInterface({ input: written })) yield line;
}

const tablesCount = `select count(*) from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where n.nspname !~ '^pg_' and n.nspname <> 'information_schema' and c.relkind in ('r', 'p', 'v', 'm')`;

/** How many tables and views it has. */
export async function tableCount(place: Place): Promise<number> {
  for await (const row of rowsOf(place, tablesCount)) return Number(row);
  throw failureOf("dump-failed", "psql answered nothing");
}
