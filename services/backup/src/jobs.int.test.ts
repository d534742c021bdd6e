/** The jobs on a vault in a folder and servers with canned answers: dying anywhere comes to the same end. */
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { BackupKind } from "@chom/proto/chom/backup/v1/backup";
import type { CreateBackupInput, RestoreBackupInput } from "@chom/proto/chom/backup/v1/events";
import { decide, type EventMeta, fold } from "@chom/shared/aggregate/aggregate";
import { failureOf } from "@chom/shared/failure/failure";
import type { App } from "@chom/shared/service/app";
import { crashPoints } from "@chom/shared/testing/crash-points";
import { fakeRun } from "@chom/shared/testing/fake-run";
import { streamed } from "@chom/shared/testing/fake-servers";
import { scratchFolder } from "@chom/stack/scratch-folder";
import { expect, test } from "vitest";
import { makeBackupKeys, readBackupKeys } from "./backup-keys.ts";
import { type Backups, backups, type Taken } from "./backups.ts";
import { createBackup } from "./create-backup.ts";
import { expireBackups } from "./expire-backups.ts";
import { restoreBackup } from "./restore-backup.ts";
import { defaultRules } from "./retention.ts";
import { localVault } from "./vault-local.ts";
import { verifyBackup } from "./verify-backup.ts";

const createInput: CreateBackupInput = {
  backupId: "b1",
  siteId: "site-1",
  serverId: "server-1",
  kind: BackupKind.FULL,
  domain: "a.example",
  systemUser: "s-1",
  rootPath: "/srv/sites/s-1",
  databaseName: "s_1",
  keepUntil: undefined,
  safetyPoint: false,
  siteKind: "SITE_KIND_PHP",
  phpVersion: "8.2",
  estimatedBytes: 0n,
};
const { keepUntil: _, kind: __, safetyPoint: ___, ...place } = createInput;
const restoreInput: RestoreBackupInput = {
  ...place,
  restoreId: "r1",
  manifestKey: "",
  acceptNoSafety: false,
};
const room = {
  filesBytes: 1000,
  databaseBytes: 1000,
  freeBytes: 1e9,
  databaseFreeBytes: 1e9,
  engine: "11",
};
const tables = [{ name: "t", rows: 2 }];
const dumpText =
  "CREATE TABLE `t` (`a` int);\nINSERT INTO `t` VALUES (1),(2);\n-- Dump completed\n";
const dump = streamed(
  { tool: "dump 1", engine: "11", consistent: true, liveTables: tables },
  dumpText,
);
const tar = streamed({ changed: false, tarVersion: "tar 1" }, Buffer.alloc(1024));
const answers = {
  "measure-site.sh": room,
  "dump-database.sh": dump,
  "archive-files.sh": tar,
  "prepare-staging.sh": undefined,
  "stage-files.sh": { entries: 0, linksLeftOut: 0 },
  "stage-database.sh": { tables },
  "close-site.sh": undefined,
  "swap-in.sh": undefined,
  "swap-back.sh": undefined,
  "smoke-test.sh": { status: 200 },
  "discard-staging.sh": undefined,
};

/** A vault, keys, and the aggregate folded from what the jobs decide. */
function setup() {
  const folder = scratchFolder("backup-jobs");
  const vault = localVault(folder.path);
  const events: { name: string; data: unknown; meta: EventMeta }[] = [];
  const state = (): Backups => fold(backups, events);
  const decided = (command: string, input: unknown, time = new Date()) => {
    for (const event of decide(backups, state(), command as "begin", input as never)) {
      const more = {
        tenant: "tenant-1",
        id: "site-1",
        position: events.length,
        actor: "",
        causationId: "",
        correlationId: "",
      };
      events.push({ ...event, meta: { ...more, eventId: `${events.length}`, time } });
    }
  };
  const load = (async () => ({
    state: state(),
    sequence: events.length,
  })) as unknown as App["load"];
  const deps = { vault, keys: readBackupKeys(makeBackupKeys()), load };
  const facts = (input: unknown) => ({
    input,
    jobId: "job-1",
    at: new Date(),
    tenant: "tenant-1",
    actor: "",
  });
  const backUp = async (backupId = "b1", time = new Date()) => {
    const input = { ...createInput, backupId };
    decided("begin", facts(input), time);
    const result = (await createBackup(deps).work(input, fakeRun(answers))) as Taken;
    decided("complete", { ...facts(input), result, durationMs: 1 }, time);
    return result;
  };
  return { ...folder, vault, deps, state, decided, facts, backUp, [Symbol.dispose]: folder.remove };
}

test("a backup that dies after any step ends the same", async () => {
  using at = setup();
  const job = createBackup(at.deps);
  // Every attempt writes new ciphertext under new keys; what the point says of the site is what must be the same.
  const plain = {
    ...job,
    work: async (...given: Parameters<typeof job.work>) => {
      const { sizeBytes, filesCount, tablesCount, gapMs } = (await job.work(...given)) as Taken;
      await rm(at.path, { recursive: true, force: true });
      return { sizeBytes, filesCount, tablesCount, gapMs };
    },
  };
  expect(await crashPoints(plain as unknown as typeof job, { input: createInput, answers })).toBe(
    4,
  );
});

test("an archive that vanished from the vault is taken again when the run comes back", async () => {
  using at = setup();
  const memory = new Map();
  const dying = { ...answers, "archive-files.sh": failureOf("ssh-connection-lost", "cut") };
  const first = createBackup(at.deps).work(createInput, fakeRun(dying, { memory }));
  await expect(first).rejects.toMatchObject({ code: "ssh-connection-lost" });
  for (const { key } of await at.vault.list("")) await at.vault.delete(key);
  const run = fakeRun(answers, { memory, attempt: 2 });
  await createBackup(at.deps).work(createInput, run);
  expect(run.steps).toContain("dump the database");
});

test.each([
  [
    "a dump without its last line",
    {
      "dump-database.sh": streamed(
        { ...{ tool: "", engine: "", consistent: true }, liveTables: tables },
        "CREATE TABLE `t` (`a` int);\n",
      ),
    },
  ],
  [
    "a dump that lacks a table",
    {
      "dump-database.sh": streamed(
        { tool: "", engine: "", consistent: true, liveTables: [...tables, { name: "u", rows: 0 }] },
        dumpText,
      ),
    },
  ],
  [
    "a dump whose table lost its rows",
    {
      "dump-database.sh": streamed(
        { tool: "", engine: "", consistent: true, liveTables: tables },
        "CREATE TABLE `t` (`a` int);\n-- Dump completed\n",
      ),
    },
  ],
])("%s is no backup, and no manifest says so", async (_name, broken) => {
  using at = setup();
  const taking = createBackup(at.deps).work(createInput, fakeRun({ ...answers, ...broken }));
  await expect(taking).rejects.toMatchObject({ code: "dump-incomplete", kind: "permanent" });
  expect((await at.vault.list("")).filter(({ key }) => key.endsWith("manifest.json"))).toEqual([]);
});

test("a full backup of a site without a database holds its files; a database backup of it is refused", async () => {
  using at = setup();
  const bare = { ...createInput, databaseName: "" };
  const taken = await createBackup(at.deps).work(bare, fakeRun(answers));
  expect(taken).toMatchObject({ tablesCount: 0, gapMs: 0 });
  const only = createBackup(at.deps).work({ ...bare, kind: BackupKind.DATABASE }, fakeRun(answers));
  await expect(only).rejects.toMatchObject({ code: "invalid-config" });
});

test("a point is verified until one bit of it changes, or it is gone", async () => {
  using at = setup();
  await at.backUp();
  const input = { siteId: "site-1", backupId: "b1", manifestKey: "" };
  const verify = () => verifyBackup(at.deps).work(input, fakeRun());
  expect(await verify()).toMatchObject({ problem: null });
  const listed = await at.vault.list("");
  const archive = listed.find(({ key }) => key.endsWith(".sql.zst.age"));
  await writeFile(join(at.path, archive?.key ?? ""), Buffer.alloc(archive?.sizeBytes ?? 0));
  expect(await verify()).toMatchObject({ problem: { code: "checksum-mismatch" } });
  await at.vault.delete(archive?.key ?? "");
  expect(await verify()).toMatchObject({ problem: { code: "object-missing" } });
});

test("a restore that dies after any step ends the same", async () => {
  using at = setup();
  await at.backUp();
  const job = restoreBackup(at.deps);
  // The harness gives every life the same fence; a real one never comes twice, so each life gets an empty folder.
  const work: typeof job.work = async (input, run) => {
    const strays = (await at.vault.list("")).filter(({ key }) => !key.includes("/b1/"));
    if (run.attempt === 1) for (const { key } of strays) await at.vault.delete(key);
    return await job.work(input, run);
  };
  const points = await crashPoints({ ...job, work }, { input: restoreInput, answers });
  expect(points).toBeGreaterThan(15);
});

test("a restore saves the site first, proves the point, and only then touches the site", async () => {
  using at = setup();
  await at.backUp();
  const run = fakeRun(answers);
  await restoreBackup(at.deps).work(restoreInput, run);
  const place = (step: string) => run.steps.indexOf(step);
  expect(place("check the database")).toBeGreaterThan(-1);
  expect(place("safety: complete")).toBeGreaterThan(place("check the database"));
  expect(place("prepare staging")).toBeGreaterThan(place("safety: complete"));
  expect(place("close the site")).toBeGreaterThan(place("say that the site is touched"));
  expect(place("swap in")).toBeGreaterThan(place("close the site"));
  const uploads = run.servers.calls.filter(({ uploaded }) => uploaded !== undefined);
  expect(uploads.map(({ uploaded }) => uploaded?.toString("latin1"))).toContain(dumpText);
  expect(run.recorded.map(({ command }) => command)).toEqual([
    "openSafety",
    "completeSafety",
    "touch",
  ]);
});

test.each([
  ["swap-in.sh", "nginx-test-failed"],
  ["smoke-test.sh", "restore-verification-failed"],
])(
  "a restore that fails in %s is undone in reverse: swapped back, then cleared",
  async (script, code) => {
    using at = setup();
    await at.backUp();
    const run = fakeRun({ ...answers, [script]: failureOf(code, "no") });
    await expect(restoreBackup(at.deps).work(restoreInput, run)).rejects.toMatchObject({ code });
    const before = run.servers.calls.length;
    expect(await run.undo()).toEqual(["close the site", "prepare staging"]);
    const undone = run.servers.calls.slice(before).map((call) => call.script);
    expect(undone).toEqual(["swap-back.sh", "discard-staging.sh"]);
  },
);

test("rows that differ in staging end the restore before the site is touched", async () => {
  using at = setup();
  await at.backUp();
  const fewer = { "stage-database.sh": { tables: [{ name: "t", rows: 1 }] } };
  const run = fakeRun({ ...answers, ...fewer });
  const restoring = restoreBackup(at.deps).work(restoreInput, run);
  await expect(restoring).rejects.toMatchObject({ code: "restore-verification-failed" });
  expect(run.recorded.map(({ command }) => command)).not.toContain("touch");
});

test("case 63: without room a restore ends before anything is written", async () => {
  using at = setup();
  await at.backUp();
  const full = { "measure-site.sh": { ...room, databaseFreeBytes: 10 } };
  const run = fakeRun({ ...answers, ...full });
  const restoring = restoreBackup(at.deps).work(restoreInput, run);
  await expect(restoring).rejects.toMatchObject({ code: "no-space-for-restore" });
  expect(run.servers.calls.map(({ script }) => script)).toEqual(["measure-site.sh"]);
});

test("a site that cannot be saved first is not restored, unless that was accepted", async () => {
  using at = setup();
  await at.backUp();
  const broken = { ...answers, "dump-database.sh": failureOf("db-corrupt", "broken") };
  const refusing = restoreBackup(at.deps).work(restoreInput, fakeRun(broken));
  await expect(refusing).rejects.toMatchObject({ code: "no-safety-point", kind: "operator" });
  const run = fakeRun(broken);
  const accepting = restoreBackup(at.deps).work({ ...restoreInput, acceptNoSafety: true }, run);
  expect(await accepting).toMatchObject({ safetyBackupId: "" });
  expect(run.recorded.map(({ command }) => command)).toEqual(["openSafety", "failSafety", "touch"]);
});

test("case 20, 21: another site's manifest is not restored, whatever the log says", async () => {
  using at = setup();
  const { manifestKey, manifestSha256 } = await at.backUp();
  const load = (async () => {
    const { points } = at.state();
    const forged = { ...points["b1"], backupId: "b2", manifestKey, manifestSha256 };
    return { state: { ...at.state(), points: { b2: forged } }, sequence: 1 };
  }) as unknown as App["load"];
  const restoring = restoreBackup({ ...at.deps, load }).work(
    { ...restoreInput, backupId: "b2" },
    fakeRun(answers),
  );
  await expect(restoring).rejects.toMatchObject({ code: "foreign-manifest", kind: "security" });
});

test("what retention lets go leaves the log first and the vault then, and nothing else goes", async () => {
  using at = setup();
  const now = new Date("2026-06-30T00:00:00Z");
  const ago = (days: number) => new Date(now.getTime() - days * 86_400_000);
  for (const [id, days] of [
    ["old", 2000],
    ["older", 2001],
    ["new", 1],
    ["newer", 0],
    ["same-month", 2000.1],
  ] as const) {
    await at.backUp(id, ago(days));
  }
  const input = { siteId: "site-1", now };
  const rules = { ...defaultRules, daily: 2, weekly: 1, monthly: 1 };
  const run = fakeRun(answers);
  const record = async (name: string, command: string, given: unknown) => {
    await run.record(name, command, given as never);
    at.decided(command, given);
  };
  const work = expireBackups({ ...at.deps, rules }).work;
  expect(await work(input, { ...run, record: record as typeof run.record })).toEqual({
    expired: 3,
  });
  const left = new Set((await at.vault.list("")).map(({ key }) => key.split("/")[2]));
  expect([...left].toSorted()).toEqual(["new", "newer"]);
  expect(
    Object.values(at.state().points).filter(({ status }) => status === "expired"),
  ).toHaveLength(3);
});
