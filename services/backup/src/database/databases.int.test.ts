/** Database backups against real servers: PostgreSQL, MariaDB and SQLite, and the stock tools alone. */
import { chmodSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { decide, type EventMeta, fold } from "@chom/shared/aggregate/aggregate";
import type { Failure } from "@chom/shared/failure/failure";
import { Secret } from "@chom/shared/secrets/secret";
import type { App } from "@chom/shared/service/app";
import { fakeRun } from "@chom/shared/testing/fake-run";
import { ensureHostProgram } from "@chom/stack/apt";
import { postgresClients } from "@chom/stack/database-clients";
import { type Mariadb, startMariadb } from "@chom/stack/mariadb";
import { type Postgres, startPostgres } from "@chom/stack/postgres";
import { runCommand } from "@chom/stack/run-command";
import { scratchFolder } from "@chom/stack/scratch-folder";
import postgresClient from "postgres";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { makeBackupKeys, readBackupKeys } from "../backup-keys.ts";
import { localVault } from "../vault-local.ts";
import { backUpDatabase } from "./back-up-database.ts";
import { type DatabaseBackups, databaseBackups, type DatabaseTaken } from "./database-backups.ts";
import type { DatabaseDeps } from "./database-deps.ts";
import { databaseSources, type Engine, placeOf } from "./database-sources.ts";
import { restoreDatabase } from "./restore-database.ts";
import { readBack } from "./store-dump.ts";

const note = () => {};
const age = await ensureHostProgram("age", "age", note);
const zstd = await ensureHostProgram("zstd", "zstd", note);
const rows = 3_000;
const engines: readonly Engine[] = ["postgres", "mysql", "sqlite"];
const awkward = `tab\tquote'"\`\\ line\nCOPY x FROM stdin;\n\\.\n-- PostgreSQL database dump complete`;
let server: Postgres;
let mariadb: Mariadb;
let pgTools: string;
const files = scratchFolder("databases");

beforeAll(async () => {
  [server, mariadb, pgTools] = await Promise.all([
    startPostgres(),
    startMariadb(),
    postgresClients(note),
  ]);
}, 240_000);
afterAll(async () => {
  await Promise.all([server?.stop(), mariadb?.stop()]);
  files.remove();
});

const urlOf = (engine: Engine, name: string): string => {
  if (engine === "sqlite") return `sqlite://${join(files.path, name)}`;
  if (engine === "mysql") return `${mariadb.url}${name}`;
  return server.url.replace(/\/postgres$/, `/${name}`);
};

/** A database of that name with two tables and awkward rows. */
async function fill(engine: Engine, name: string): Promise<void> {
  if (engine === "postgres") {
    const sql = postgresClient(await server.createDatabase(name), { max: 1, onnotice: note });
    await sql.unsafe(`create table items (id int primary key, note text);
      create table "Odd ""Name" (a int); create view seen as select * from items;
      create function f() returns text language sql as $$ select 'CREATE TABLE no (x int);
COPY public.no FROM stdin;' $$`);
    await sql`insert into items select n, ${awkward} from generate_series(1, ${rows}) n`;
    await sql.end();
  } else if (engine === "mysql") {
    const text = awkward.replaceAll("\\", "\\\\").replaceAll("'", "\\'");
    await mariadb.sql(`create database \`${name}\` character set utf8mb4`);
    const insert = `insert into items select seq, '${text}' from seq_1_to_${rows}`;
    const tables =
      "create table items (id int primary key, note text); create table `Odd name` (a int)";
    await mariadb.sql(`${tables}; ${insert}`, name);
  } else {
    const db = new DatabaseSync(join(files.path, name));
    db.exec(
      'create table items (id integer primary key, note text); create table "Odd ""Name" (a)',
    );
    const insert = db.prepare("insert into items values (?, ?)");
    db.exec("begin");
    for (let id = 1; id <= rows; id += 1) insert.run(id, awkward);
    db.exec("commit");
    db.close();
  }
}

/** How many rows have the awkward text, byte for byte. */
async function intact(engine: Engine, name: string): Promise<number> {
  if (engine === "postgres") {
    const sql = postgresClient(urlOf(engine, name), { max: 1 });
    const [found] = await sql`select count(*)::int as n from items where note = ${awkward}`;
    await sql.end();
    return Number(found?.["n"]);
  }
  if (engine === "mysql") {
    const hex = Buffer.from(awkward).toString("hex");
    return Number(await mariadb.sql(`select count(*) from items where note = x'${hex}'`, name));
  }
  const db = new DatabaseSync(join(files.path, name), { readOnly: true });
  const { n } = db.prepare("select count(*) as n from items where note = ?").get(awkward) as {
    n: number;
  };
  db.close();
  return n;
}

function setup(engine: Engine, name: string, over: Partial<DatabaseDeps> = {}) {
  const folder = scratchFolder("database-jobs");
  const vaultPath = join(folder.path, "vault");
  const keyText = makeBackupKeys();
  const events: { name: string; data: unknown; meta: EventMeta }[] = [];
  const load = (async () => ({
    state: fold(databaseBackups, events) as DatabaseBackups,
    sequence: events.length,
  })) as unknown as App["load"];
  const place = placeOf(new Secret(urlOf(engine, name)));
  const deps: DatabaseDeps = {
    ...{ load, vault: localVault(vaultPath), local: undefined, isProduction: true },
    keys: readBackupKeys(keyText),
    sources: [{ name: "main", place, scratch: undefined }],
    toolFolders: [pgTools, mariadb.tools],
    ...over,
  };
  const decided = (command: "begin" | "complete", input: unknown) => {
    for (const event of decide(
      databaseBackups,
      fold(databaseBackups, events),
      command,
      input as never,
    )) {
      const more = { tenant: "platform", id: "main", position: 1, actor: "", causationId: "" };
      events.push({
        ...event,
        meta: { ...more, correlationId: "", eventId: "e", time: new Date() },
      });
    }
  };
  const input = { source: "main", plain: false, localOnly: false, untested: false, runId: "" };
  async function backUp(wish: Partial<typeof input> = {}, id = "b1") {
    const facts = {
      jobId: id,
      at: new Date(),
      tenant: "platform",
      actor: "",
      input: { ...input, ...wish },
    };
    decided("begin", facts);
    const job = backUpDatabase(deps, {} as App);
    const run = fakeRun<typeof databaseBackups>({}, { tenant: "platform", id });
    const result = (await job.work(facts.input, run)) as DatabaseTaken;
    decided("complete", { ...facts, result, durationMs: 1 });
    if (!result.taken) throw new Error("nothing was taken");
    return result.taken;
  }
  const restoring = (targetDatabase: string, backupId = "b1") => {
    const run = fakeRun<typeof databaseBackups>({}, { tenant: "platform", id: "r1" });
    const wish = { source: "main", backupId, targetSource: "", targetDatabase };
    return { run, work: () => restoreDatabase(deps).work(wish, run) };
  };
  return {
    ...{ folder: folder.path, vaultPath, keyText, deps, backUp, restoring, events },
    [Symbol.dispose]: folder.remove,
  };
}

const failureOf = (work: Promise<unknown>): Promise<Failure> =>
  work.then(
    () => Promise.reject(new Error("it went well")),
    (error: Failure) => error,
  );

describe.each(engines)("%s", (engine) => {
  const name = `shop_${engine}`;
  const tables = 2;
  beforeAll(() => fill(engine, name));

  test("creates a database backup: encrypted, uploaded, tested by a restore, its manifest last", async () => {
    using at = setup(engine, name);
    const taken = await at.backUp();
    expect(taken).toMatchObject({ engine, tables, rows, restoreTested: true, isEncrypted: true });
    expect(taken.key).toMatch(
      /^platform\/databases\/main\/b1\/1\.1\/\w+\.(?:sql|sqlite)\.zst\.age$/,
    );
    const listed = await at.deps.vault.list("");
    expect(listed.map(({ key }) => key)).toEqual([taken.key, taken.manifestKey].toSorted());
    const stored = readFileSync(join(at.vaultPath, taken.key));
    expect(stored.subarray(0, 22).toString()).toBe("age-encryption.org/v1\n");
    expect(stored.length).toBe(taken.storedBytes);
    expect(at.events.map((event) => event.name)).toEqual([
      "DatabaseBackupStarted",
      "DatabaseBackupCompleted",
    ]);
    expect(await intact(engine, name)).toBe(rows);
  });

  test("is restored into a database that is made for it, and never over one that is there", async () => {
    using at = setup(engine, name);
    await at.backUp();
    const { work } = at.restoring(`${name}_back`);
    expect(await work()).toEqual({ tables, rows });
    expect(await intact(engine, `${name}_back`)).toBe(rows);
    expect(await failureOf(at.restoring(`${name}_back`).work())).toMatchObject({
      code: "name-taken",
    });
    expect(await intact(engine, `${name}_back`)).toBe(rows);
  });

  test("an object that was damaged is found by the test, and restores nothing", async () => {
    using at = setup(engine, name);
    const taken = await at.backUp();
    const path = join(at.vaultPath, taken.key);
    const bytes = readFileSync(path);
    bytes[bytes.length - 100] = (bytes.at(-100) ?? 0) ^ 1;
    chmodSync(path, 0o600);
    writeFileSync(path, bytes);
    const sealed = { location: "vault" as const, isEncrypted: true };
    const { signal } = new AbortController();
    const damage = expect.stringMatching(/checksum-mismatch|archive-not-authentic/);
    expect(await failureOf(readBack(at.deps, taken, sealed, signal))).toMatchObject({
      code: damage,
    });
    const { run, work } = at.restoring(`${name}_damaged`);
    expect(await failureOf(work())).toMatchObject({ code: damage });
    expect(await run.undo()).toEqual(["make the database"]);
    await expect(intact(engine, `${name}_damaged`)).rejects.toThrow();
  });

  test("stock tools alone restore it, as the README says", async () => {
    using at = setup(engine, name);
    const taken = await at.backUp({ untested: true });
    const key = join(at.folder, "backup.key");
    const identity = at.keyText
      .reveal()
      .split("\n")
      .find((line) => line.startsWith("AGE-"));
    writeFileSync(key, `${identity}\n`, { mode: 0o600 });
    const open = `${age} -d -i ${key} ${join(at.vaultPath, taken.key)} | ${zstd} -d`;
    const target = `${name}_stock`;
    const pass = join(at.folder, "pass");
    const { host, port, user, password } = placeOf(new Secret(urlOf(engine, target)));
    if (engine === "postgres") {
      await server.createDatabase(target);
      writeFileSync(pass, `*:*:*:*:${password.reveal()}\n`, { mode: 0o600 });
      const psql = `${pgTools}/psql -X -q -1 -v ON_ERROR_STOP=1 -h ${host} -p ${port} -U ${user} ${target}`;
      const script = `set -o pipefail; ${open} | PGPASSFILE=${pass} ${psql}`;
      expect(await runCommand("bash", ["-c", script])).toMatchObject({ code: 0, stderr: "" });
    } else if (engine === "mysql") {
      await mariadb.sql(`create database ${target}`);
      const { code, stdout, stderr } = await runCommand("bash", ["-c", `set -o pipefail; ${open}`]);
      expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
      await mariadb.sql(stdout, target);
    } else {
      const script = `set -o pipefail; ${open} > ${join(files.path, target)}`;
      expect(await runCommand("bash", ["-c", script])).toMatchObject({ code: 0, stderr: "" });
    }
    expect(await intact(engine, target)).toBe(rows);
  });

  test("a database that is not there is db-missing, and nothing is stored", async () => {
    using at = setup(engine, "nowhere");
    expect(await failureOf(at.backUp())).toMatchObject({ code: "db-missing" });
    expect(await at.deps.vault.list("")).toEqual([]);
  });
});

test("without a key the backup is refused, never made without encryption", async () => {
  using at = setup("sqlite", "shop_sqlite");
  const keys = { ...at.deps.keys, recipients: [] };
  using bare = setup("sqlite", "shop_sqlite", { keys });
  expect(await failureOf(bare.backUp())).toMatchObject({ code: "key-missing", kind: "operator" });
  expect(await bare.deps.vault.list("")).toEqual([]);
  expect(() => readBackupKeys(new Secret("# nothing\n"))).toThrow("needs an age identity");
});

test("production refuses a plain backup; elsewhere it is made when asked for, and restored", async () => {
  using strict = setup("sqlite", "shop_sqlite");
  expect(await failureOf(strict.backUp({ plain: true }))).toMatchObject({ code: "invalid-config" });
  using at = setup("sqlite", "shop_sqlite", { isProduction: false });
  const taken = await at.backUp({ plain: true });
  expect(taken).toMatchObject({ isEncrypted: false, restoreTested: true });
  expect(taken.key).toMatch(/\.sqlite\.zst$/);
  expect(await at.restoring("shop_plain").work()).toMatchObject({ rows });
});

test("a backup folder that is missing is made, for its owner alone", async () => {
  const folder = join(files.path, "not", "there");
  using at = setup("sqlite", "shop_sqlite", { local: localVault(folder) });
  const taken = await at.backUp({ localOnly: true });
  expect(taken.location).toBe("local");
  const path = join(folder, taken.key);
  expect((statSync(path).mode & 0o777).toString(8)).toBe("600");
  expect((statSync(folder).mode & 0o777).toString(8)).toBe("700");
  expect(await at.deps.vault.list("")).toEqual([]);
  using none = setup("sqlite", "shop_sqlite");
  const refused = await failureOf(none.backUp({ localOnly: true }));
  expect(refused.message).toContain("CHOM_LOCAL_BACKUPS");
});

test("a missing program needs a person, and says what to install", async () => {
  const path = process.env["PATH"];
  process.env["PATH"] = "/nonexistent";
  try {
    for (const engine of ["postgres", "mysql"] as const) {
      using at = setup(engine, `shop_${engine}`, { toolFolders: [] });
      const failure = await failureOf(at.backUp());
      expect(failure).toMatchObject({ code: "tool-missing", kind: "operator" });
      expect(failure.message).toMatch(/install .* CHOM_DATABASE_TOOLS/);
    }
  } finally {
    process.env["PATH"] = path;
  }
});

test("case 65: no secret is among the arguments or in the environment of any program", async () => {
  const spy = join(files.path, "spy");
  mkdirSync(spy);
  const seen = join(files.path, "seen");
  for (const [name, real] of [
    ["pg_dump", pgTools],
    ["psql", pgTools],
    ["mariadb-dump", mariadb.tools],
    ["mariadb", mariadb.tools],
  ] as const) {
    const look = `echo "$0 $*" >> ${seen}; env >> ${seen}; stat -c %a "\${PGPASSFILE:-/}" >> ${seen}`;
    writeFileSync(join(spy, name), `#!/bin/sh\n${look}\nexec ${real}/${name} "$@"\n`, {
      mode: 0o755,
    });
  }
  for (const engine of ["postgres", "mysql"] as const) {
    using at = setup(engine, `shop_${engine}`, { toolFolders: [spy] });
    await at.backUp();
    const { password } = placeOf(new Secret(urlOf(engine, "x")));
    const text = readFileSync(seen, "utf8");
    expect(text).toContain(engine === "postgres" ? "psql" : "mariadb");
    expect(text).not.toContain(password.reveal());
    expect(text).not.toContain("CHOM_");
    if (engine === "postgres") expect(text).toMatch(/^600$/m);
  }
});

test("a wrong password needs a person, a dead server may come back, an old program is named", async () => {
  const at = async (change: (url: URL) => void, over: Partial<DatabaseDeps> = {}) => {
    const url = new URL(urlOf("postgres", "shop_postgres"));
    change(url);
    const place = placeOf(new Secret(url.href));
    using made = setup("postgres", "x", {
      ...over,
      sources: [{ name: "main", place, scratch: undefined }],
    });
    return failureOf(made.backUp());
  };
  expect(await at((url) => (url.password = "wrong"))).toMatchObject({
    code: "db-auth",
    kind: "operator",
  });
  expect(await at((url) => (url.port = "1"))).toMatchObject({
    code: "db-gone-away",
    kind: "transient",
  });
  const old = join(files.path, "old");
  mkdirSync(old);
  const say = "pg_dump: error: aborting because of server version mismatch";
  writeFileSync(
    join(old, "pg_dump"),
    `#!/bin/sh\n[ "$1" = --version ] || { echo "${say}" >&2; exit 1; }\n`,
    {
      mode: 0o755,
    },
  );
  const refused = await at(() => {}, { toolFolders: [old, pgTools] });
  expect(refused).toMatchObject({ code: "incompatible-engine", kind: "permanent" });
  expect(refused.message).toContain("major version");
});

test("a test restore leaves no scratch database behind, whether it went well or not", async () => {
  const left = async () => {
    const sql = postgresClient(server.url, { max: 1 });
    const found = await sql`select datname from pg_database where datname like 'chom_test%'`;
    await sql.end();
    return [...found];
  };
  using at = setup("postgres", "shop_postgres");
  await at.backUp();
  expect(await left()).toEqual([]);
  const broken = join(files.path, "broken");
  mkdirSync(broken);
  const restores = 'case "$*" in *single-transaction*) cat > /dev/null; exit 0;; esac';
  writeFileSync(join(broken, "psql"), `#!/bin/sh\n${restores}\nexec ${pgTools}/psql "$@"\n`, {
    mode: 0o755,
  });
  using bad = setup("postgres", "shop_postgres", { toolFolders: [broken, pgTools] });
  expect(await failureOf(bad.backUp())).toMatchObject({ code: "restore-verification-failed" });
  expect(await left()).toEqual([]);
});

test("sources come from files that only their owner reads, and a bad one is named without its secret", () => {
  const { read } = databaseSources("CHOM_DATABASES");
  const file = (name: string, text: string, mode = 0o600) => {
    writeFileSync(join(files.path, name), text, { mode });
    return join(files.path, name);
  };
  const good = file(
    "a.url",
    "postgres://u:p%40ss@[::1]:6543/shop?sslmode=require\nscratch=postgres://t@h/x\n",
  );
  const [source] = read(`main=${good}`);
  expect(source).toMatchObject({
    name: "main",
    place: { engine: "postgres", host: "::1", port: 6543, user: "u", database: "shop" },
    scratch: { host: "h", database: "x" },
  });
  expect(source?.place.password.reveal()).toBe("p@ss");
  expect(JSON.stringify(source)).not.toContain("p@ss");
  expect(() => read(`main=${file("b.url", "postgres://u:p@h/x", 0o644)}`)).toThrow(
    "everyone may read",
  );
  expect(() => read(`all=${good}`)).toThrow('not "all"');
  expect(() => read(`main=${good},main=${good}`)).toThrow("twice");
  expect(() => read(`main=${file("c.url", "oracle://u:hunter2@h/x")}`)).toThrow(
    /not postgres:.*c\.url/,
  );
  expect(read("")).toEqual([]);
});
