/** `chom backup:database` and `chom backup:clean` on the real service, broker, Postgres and vault. */
import { createHash, randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { BackupKind } from "@chom/proto/chom/backup/v1/backup";
import type { CreateBackupInput } from "@chom/proto/chom/backup/v1/events";
import { handleCommand } from "@chom/shared/event-log/aggregates";
import { jetstreamLog } from "@chom/shared/event-log/jetstream-log";
import { connectNats } from "@chom/shared/event-log/nats";
import { keyring, readRootKeys } from "@chom/shared/secrets/keyring";
import { Secret } from "@chom/shared/secrets/secret";
import { type Running, startService } from "@chom/shared/service/start";
import { contextFor, runConsole, startServiceProcess } from "@chom/shared/testing/console";
import { type Ground, startGround } from "@chom/shared/testing/ground";
import { inboxPrefix } from "@chom/shared/topology/names";
import { postgresClients } from "@chom/stack/database-clients";
import { runCommand } from "@chom/stack/run-command";
import postgresClient from "postgres";
import { afterAll, beforeAll, expect, test } from "vitest";
import { makeBackupKeys } from "./backup-keys.ts";
import { backups } from "./backups.ts";
import { cast, settings } from "./cast.ts";

let ground: Ground;
let service: Running;
let scheduler: { address: string; stop: () => Promise<void> };
let platform: string;
let acme: string;
let vault: string;
const dayMs = 86_400_000;
const today = new Date();

beforeAll(async () => {
  const [started, tools] = await Promise.all([startGround(), postgresClients(() => {})]);
  ground = started;
  vault = join(ground.folder, "vault");
  const file = (name: string, text: string) => {
    writeFileSync(join(ground.folder, name), text, { mode: 0o600 });
    return join(ground.folder, name);
  };
  const sqlite = join(ground.folder, "app.sqlite");
  const db = new DatabaseSync(sqlite);
  db.exec("create table t (a); insert into t values (1), (2), (3)");
  db.close();
  const own = file("own.url", `${ground.postgres.url.replace(/\/postgres$/, "/chom")}\n`);
  const environment = {
    ...(await ground.environment("backup")),
    CHOM_VAULT: `file://${vault}`,
    CHOM_BACKUP_IDENTITY_FILE: file("identity.key", makeBackupKeys().reveal()),
    CHOM_DATABASES: `control-plane=${own},app=${file("app.url", `sqlite://${sqlite}\n`)}`,
    CHOM_DATABASE_TOOLS: tools,
  };
  const migrations = new URL("../migrations", import.meta.url);
  service = await startService({ name: "backup", migrations, settings, cast }, environment);
  scheduler = await startServiceProcess(ground, "scheduler");
  const urls = { backup: service.address, scheduler: scheduler.address };
  [platform, acme] = await Promise.all([
    contextFor(ground, "platform", urls),
    contextFor(ground, "acme", urls),
  ]);
}, 240_000);
afterAll(async () => {
  await scheduler?.stop();
  await service?.stop();
  await ground?.stop();
});

const filesIn = (folder: string): string[] =>
  existsSync(folder)
    ? readdirSync(folder, { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map((entry) => join(entry.parentPath, entry.name))
    : [];

const sitePoint = (siteId: string, day: number) => `b-${siteId}-${String(day).padStart(3, "0")}`;

/** Points of a site, one a day for so many days until today, as the log and the vault would have them. */
async function seed(tenant: string, siteId: string, days: number): Promise<void> {
  const nats = await connectNats({
    servers: ground.nats.url,
    name: "seed",
    seed: new Secret(readFileSync(ground.seedFiles.backup, "utf8")),
    inboxPrefix: inboxPrefix("backup"),
  });
  try {
    const sealer = keyring(readRootKeys(join(ground.folder, "root.key")), randomBytes);
    for (let day = days - 1; day >= 0; day -= 1) {
      const at = new Date(today.getTime() - day * dayMs - 60_000);
      const histories = { log: jetstreamLog(nats), sealer, source: "backup", now: () => at };
      const backupId = sitePoint(siteId, day);
      const key = `${tenant}/${siteId}/${backupId}/1.1/files.tar.zst.age`;
      const input = { backupId, siteId, serverId: "s", kind: BackupKind.FULL } as CreateBackupInput;
      const facts = { jobId: backupId, at, tenant, actor: "seed" };
      const more = { domain: "", keepUntil: undefined, safetyPoint: false };
      const begun = { ...facts, input: { ...input, ...more } };
      const run = (command: "begin" | "complete", data: unknown) =>
        handleCommand(histories, {
          of: backups,
          id: siteId,
          command,
          input: data as never,
          cause: { tenant, actor: "seed", eventSeed: `${backupId}-${command}` },
        });
      await run("begin", begun);
      const sizes = { sizeBytes: 2_048, storedBytes: 1_024, filesCount: 1, tablesCount: 0 };
      const manifest = { manifestKey: key, manifestSha256: "", gapMs: 0 };
      await run("complete", { ...begun, result: { ...sizes, ...manifest }, durationMs: 1 });
      mkdirSync(dirname(join(vault, key)), { recursive: true });
      writeFileSync(join(vault, key), Buffer.alloc(1_024));
    }
  } finally {
    await nats.close();
  }
}

test("creates an encrypted, uploaded and tested backup of every database, and prints what it is", async () => {
  const flags = ["--encrypt", "--upload", "--test"];
  const { code, err, json } = await runConsole(platform, ["backup:database", ...flags, "--json"]);
  expect({ code, err }).toEqual({ code: 0, err: "" });
  const shown = json();
  expect(shown.job.state).toBe("JOB_STATE_COMPLETED");
  expect(shown.backups).toHaveLength(2);
  for (const backup of shown.backups) {
    expect(backup).toMatchObject({
      status: "DATABASE_BACKUP_STATUS_TESTED",
      encrypted: true,
      location: "vault",
    });
    const bytes = readFileSync(join(vault, backup.objectKey));
    expect(createHash("sha256").update(bytes).digest("hex")).toBe(backup.sha256);
    expect(String(bytes.length)).toBe(backup.storedBytes);
    expect(bytes.subarray(0, 21).toString()).toBe("age-encryption.org/v1");
  }
  const engines = shown.backups.map(({ engine }: { engine: string }) => engine).toSorted();
  expect(engines).toEqual(["postgres", "sqlite"]);
});

test("outputs size, duration, location and checksum in words, with the steps as they happen", async () => {
  const args = ["backup", "database", "--source", "app", "--request-id", "words-1"];
  const { code, out, err } = await runConsole(platform, args);
  expect(code).toBe(0);
  expect(err).toMatch(/dump the database \(\d+ ms\)[\s\S]*restore it for a test[\s\S]*completed/);
  expect(out).toMatch(/^status +tested$/m);
  expect(out).toMatch(/^size +[\d.]+ KiB$/m);
  expect(out).toMatch(/^duration +\d+\.\d s$/m);
  expect(out).toMatch(/^location +vault: platform\/databases\/app\/words-1\//m);
  expect(out).toMatch(/^sha256 +[0-9a-f]{64}$/m);
  expect((await runConsole(platform, args)).code).toBe(0);
  const listed = await runConsole(platform, [
    "backup:database",
    "list",
    "--source",
    "app",
    "--json",
  ]);
  const ids = listed.json().map(({ backupId }: { backupId: string }) => backupId);
  expect(ids).toContain("words-1");
  expect(ids).toHaveLength(2);
});

test("restores the control plane's own database beside it, and never over one that is there", async () => {
  const made = await runConsole(platform, [
    ...["backup:database", "--source", "control-plane", "--no-test", "--json"],
    ...["--request-id", "own-1"],
  ]);
  expect(made.json().backups).toMatchObject([{ status: "DATABASE_BACKUP_STATUS_AVAILABLE" }]);
  const restore = ["backup:database", "restore", "own-1", "--to", "chom_back", "--json"];
  const { code, err } = await runConsole(platform, restore);
  expect({ code, err }).toEqual({ code: 0, err: "" });
  const sql = postgresClient(ground.postgres.url.replace(/\/postgres$/, "/chom_back"), { max: 1 });
  const [found] = await sql`select count(*)::int as n from backup.database_backups`;
  await sql.end();
  expect(found?.["n"]).toBeGreaterThan(0);
  const again = await runConsole(platform, restore);
  expect(again.code).toBe(6);
  expect(again.json().job.failure.code).toBe("name-taken");
});

test("another tenant may neither back up nor see nor restore them, and an unknown source is not found", async () => {
  for (const args of [
    ["backup:database"],
    ["backup:database", "list"],
    ["backup:database", "restore", "own-1", "--to", "mine", "--source", "control-plane"],
  ]) {
    const { code, error } = await runConsole(acme, [...args, "--json"]);
    expect({ args, code, error: error().code }).toEqual({ args, code: 4, error: "not-permitted" });
  }
  const unknown = await runConsole(platform, ["backup:database", "--source", "nowhere", "--json"]);
  expect({ code: unknown.code, error: unknown.error().code }).toEqual({
    code: 3,
    error: "database-not-found",
  });
  const local = await runConsole(platform, ["backup:database", "--no-upload", "--json"]);
  expect({ code: local.code, field: local.error().violations[0].field }).toEqual({
    code: 2,
    field: "local_only",
  });
});

test("a database that cannot be backed up fails the whole run, and the others are still made", async () => {
  const sqlite = join(ground.folder, "app.sqlite");
  const bytes = readFileSync(sqlite);
  writeFileSync(sqlite, Buffer.concat([Buffer.from("no database"), bytes.subarray(11)]));
  try {
    const { code, json } = await runConsole(platform, ["backup:database", "--no-test", "--json"]);
    expect(code).toBe(6);
    expect(json().job.failure.code).toBe("jobs-failed");
    expect(json().job.failure.message).toContain("1 of 2 databases failed: app (db-corrupt)");
    const statuses = json()
      .backups.map(({ status }: { status: string }) => status)
      .toSorted();
    expect(statuses).toEqual(["DATABASE_BACKUP_STATUS_AVAILABLE", "DATABASE_BACKUP_STATUS_FAILED"]);
  } finally {
    writeFileSync(sqlite, bytes);
  }
});

test("clean with no backups says so and ends well", async () => {
  const { code, err, out } = await runConsole(acme, ["backup:clean", "--dry-run"]);
  expect({ code, out }).toEqual({ code: 0, out: "" });
  expect(err).toContain("there are no backups");
  const forced = await runConsole(acme, ["backup:clean", "--force", "--json"]);
  expect(forced.code).toBe(0);
  expect(forced.json()).toMatchObject({ verdicts: [], deletes: 0 });
});

test("clean handles a missing backup folder: nothing is there, and nothing to delete", async () => {
  expect(existsSync(join(vault, "acme"))).toBe(false);
  const { code } = await runConsole(acme, ["backup", "clean", "--force"]);
  expect(code).toBe(0);
});

test("case 78: a dry run shows what goes and why, sums the space, keeps recent ones, and deletes nothing", async () => {
  await seed("acme", "site-1", 40);
  const before = filesIn(join(vault, "acme"));
  const due = async () => (await runConsole(acme, ["backup:clean", "--dry-run", "--json"])).json();
  const held = async () => (await due()).verdicts.length;
  await expect.poll(held, { timeout: 30_000 }).toBe(40);
  const plan = await due();
  expect(plan.deletes).toBeGreaterThan(20);
  expect(plan.freesBytes).toBe(String(plan.deletes * 1_024));
  const newest = plan.verdicts.slice(0, 7);
  expect(newest.every(({ kept }: { kept: boolean }) => kept)).toBe(true);
  for (const { kept, rule } of plan.verdicts) expect(rule === "none").toBe(!kept);
  const { out, err } = await runConsole(acme, ["backup:clean", "--dry-run"]);
  expect(
    out.split("\n").filter((line) => line.startsWith("delete\tnone\tacme\tsite-1\t")),
  ).toHaveLength(plan.deletes);
  expect(err).toContain(`${plan.deletes} of 40 backups are to go, which frees`);
  expect(filesIn(join(vault, "acme"))).toEqual(before);
});

test("case 78: without force it asks: no terminal is a refusal, and no is no", async () => {
  const before = filesIn(join(vault, "acme"));
  const { code, err } = await runConsole(acme, ["backup:clean", "--json"]);
  expect(code).toBe(4);
  expect(JSON.parse(err).error).toMatchObject({
    code: "confirmation-needed",
    remedy: expect.stringContaining("--force"),
  });
  const main = new URL("../../../packages/cli/src/main.ts", import.meta.url).pathname;
  const asked = `${process.execPath} ${main} backup:clean --context ${acme}`;
  const { stdout } = await runCommand("script", ["-qec", asked, "/dev/null"], { input: "n\n" });
  expect(stdout).toMatch(/delete \d+ backups\? \[y\/N\]/);
  expect(stdout).toContain("not-confirmed");
  expect(filesIn(join(vault, "acme"))).toEqual(before);
});

test("with force it deletes exactly what the dry run showed, reports it, and a second time finds nothing", async () => {
  const plan = (await runConsole(acme, ["backup:clean", "--dry-run", "--json"])).json();
  const { code, json } = await runConsole(acme, ["backup:clean", "--force", "--json"]);
  expect(code).toBe(0);
  expect(json().result).toMatchObject({
    deleted: String(plan.deletes),
    freedBytes: plan.freesBytes,
    targets: 1,
  });
  const left = filesIn(join(vault, "acme")).map((path) => path.split("/").at(-3));
  const kept = plan.verdicts
    .filter((verdict: { kept: boolean }) => verdict.kept)
    .map(({ backupId }: { backupId: string }) => backupId);
  expect(left.toSorted()).toEqual(kept.toSorted());
  const again = await runConsole(acme, ["backup:clean", "--force"]);
  expect(again.code).toBe(0);
  expect(again.err).toContain("nothing to delete");
});

test("the platform's cleaning goes over all tenants and its own databases, a tenant's over its own alone", async () => {
  await seed("other", "site-2", 12);
  const shows = async (context: string) => {
    const plan = (await runConsole(context, ["backup:clean", "--dry-run", "--json"])).json();
    const seen = (plan.verdicts as { tenant: string; source?: string }[]).map(
      ({ tenant, source }) => source ?? tenant,
    );
    return [...new Set(seen)].toSorted();
  };
  const all = () => shows(platform);
  await expect.poll(all, { timeout: 30_000 }).toEqual(["acme", "app", "control-plane", "other"]);
  expect(await shows(acme)).toEqual(["acme"]);
  const { code, json } = await runConsole(platform, ["backup:clean", "--force", "--json"]);
  expect({ code, targets: json().result.targets }).toEqual({ code: 0, targets: 1 });
  expect(filesIn(join(vault, "other")).length).toBeLessThan(12);
  expect(statSync(vault).mode & 0o077).toBe(0);
});
