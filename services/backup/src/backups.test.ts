import { BackupKind } from "@chom/proto/chom/backup/v1/backup";
import type { CreateBackupInput, RestoreBackupInput } from "@chom/proto/chom/backup/v1/events";
import { given } from "@chom/shared/aggregate/given";
import { expect, test } from "vitest";
import { backups, happened } from "./backups.ts";
import { dueIn } from "./expire-backups.ts";
import { defaultRules } from "./retention.ts";

const place = {
  siteId: "site-1",
  serverId: "server-1",
  domain: "a.example",
  systemUser: "s-1",
  rootPath: "/srv/sites/s-1",
  databaseName: "s_1",
  siteKind: "SITE_KIND_PHP",
  phpVersion: "8.2",
  estimatedBytes: 0n,
};
const createInput = (
  backupId: string,
  more: Partial<CreateBackupInput> = {},
): CreateBackupInput => ({
  ...place,
  backupId,
  kind: BackupKind.FULL,
  keepUntil: undefined,
  safetyPoint: false,
  ...more,
});
const restoreInput: RestoreBackupInput = {
  ...place,
  restoreId: "restore-1",
  backupId: "b1",
  manifestKey: "m",
  acceptNoSafety: false,
};
const at = new Date("2026-01-02T00:00:00Z");
const facts = <Input>(input: Input) => ({ input, jobId: "job-1", at, tenant: "t", actor: "a" });
const taken = (sizeBytes: number) => ({
  sizeBytes,
  storedBytes: 5,
  filesCount: 2,
  tablesCount: 1,
  manifestKey: "m",
  manifestSha256: "f".repeat(64),
  gapMs: 12.4,
});
const done = (backupId: string, sizeBytes = 10) => ({
  ...facts(createInput(backupId)),
  result: taken(sizeBytes),
  durationMs: 3.7,
});
const failure = <Input>(input: Input, undone = true) => ({
  ...facts(input),
  code: "disk-full",
  kind: "operator",
  message: "no room",
  attempts: 3,
  undone,
});

const created = (backupId: string, more: Partial<CreateBackupInput> = {}) => {
  const { siteId, serverId, kind, keepUntil, safetyPoint } = createInput(backupId, more);
  return happened.BackupCreated({
    backupId,
    siteId,
    serverId,
    kind,
    keepUntil,
    safetyPoint,
    jobId: "job-1",
  });
};
const completed = (backupId: string, sizeBytes = 10n, suspicious = false) =>
  happened.BackupCompleted({
    backupId,
    siteId: "site-1",
    kind: BackupKind.FULL,
    sizeBytes,
    storedBytes: 5n,
    filesCount: 2n,
    tablesCount: 1n,
    manifestKey: "m",
    manifestSha256: "f".repeat(64),
    durationMs: 4n,
    gapMs: 12n,
    suspicious,
    jobId: "job-1",
  });
const failed = (backupId: string) =>
  happened.BackupFailed({
    backupId,
    siteId: "site-1",
    code: "disk-full",
    message: "no room",
    jobId: "job-1",
  });
const restoreIds = { restoreId: "restore-1", backupId: "b1", siteId: "site-1", jobId: "job-1" };
const started = happened.RestoreStarted({ ...restoreIds, serverId: "server-1" });
const touched = happened.RestoreSwapStarted(restoreIds);
const names = (events: readonly { name: string }[]) => events.map(({ name }) => name);

test("a point is opened once and completed once", () => {
  expect(names(given(backups).when("begin", facts(createInput("b1"))))).toEqual(["BackupCreated"]);
  expect(given(backups, created("b1")).when("begin", facts(createInput("b1")))).toEqual([]);
  const { name, data } = completed("b1");
  expect(given(backups, created("b1")).when("complete", done("b1"))).toEqual([{ name, data }]);
  expect(given(backups, created("b1"), completed("b1")).when("complete", done("b1"))).toEqual([]);
});

test("a failed point stays as failed, and a retry may still complete it", () => {
  const after = given(backups, created("b1"), failed("b1"));
  expect(after.state.points["b1"]?.status).toBe("failed");
  expect(after.when("fail", failure(createInput("b1")))).toEqual([]);
  expect(names(after.when("complete", done("b1")))).toEqual(["BackupCompleted"]);
});

test("a point that is complete never becomes failed", () => {
  const ready = given(backups, created("b1"), completed("b1"));
  expect(ready.when("fail", failure(createInput("b1")))).toEqual([]);
  expect(ready.when("abandon", { ...facts(createInput("b1")), reason: "asked" })).toEqual([]);
});

test("a size far from what it was is marked, and only when there is something to compare with", () => {
  const three = ["x", "y", "z"].flatMap((id) => [created(id), completed(id, 100n)]);
  const isMarked = (size: number, ...before: ReturnType<typeof created | typeof completed>[]) => {
    const [event] = given(backups, ...before, created("b1")).when("complete", done("b1", size));
    return (event?.data as { suspicious: boolean } | undefined)?.suspicious;
  };
  expect([49, 50, 400, 401].map((size) => isMarked(size, ...three))).toEqual([
    true,
    false,
    false,
    true,
  ]);
  expect(isMarked(1)).toBe(false);
});

test.each([
  ["before it touched the site", [started], true, "RestoreFailed", "disk-full"],
  ["and put the site back", [started, touched], true, "RestoreRolledBack", "disk-full"],
  ["and could not put the site back", [started, touched], false, "RestoreFailed", "needs-operator"],
])("a restore that failed %s says so", (...row) => {
  const [, events, undone, name, code] = row;
  const point = [created("b1"), completed("b1")];
  const decided = given(backups, ...point, ...events).when(
    "failRestore",
    failure(restoreInput, undone),
  );
  expect(decided).toMatchObject([{ name, data: { ...restoreIds, code } }]);
});

test("a restore ends once, and its unfinished safety point ends with it", () => {
  const point = [created("b1"), completed("b1")];
  const open = [...point, started, created("safety", { safetyPoint: true })];
  const decided = given(backups, ...open).when("abandonRestore", {
    ...facts(restoreInput),
    reason: "asked",
  });
  expect(decided).toMatchObject([
    { name: "BackupFailed", data: { backupId: "safety" } },
    { name: "RestoreFailed", data: { code: "cancelled" } },
  ]);
  const over = given(
    backups,
    ...point,
    started,
    happened.RestoreFailed({ ...restoreIds, code: "x", message: "" }),
  );
  expect(over.when("failRestore", failure(restoreInput))).toEqual([]);
  const result = { safetyBackupId: "", filesCount: 1, tablesCount: 0 };
  expect(over.when("completeRestore", { ...facts(restoreInput), result, durationMs: 1 })).toEqual(
    [],
  );
});

test("a point that a restore reads cannot be let go, nor found due", () => {
  const reading = given(backups, created("b1"), completed("b1"), started);
  const expiry = { backupId: "b1", rule: "retention", siteId: "site-1", jobId: "job-1" };
  expect(() => reading.when("expire", expiry)).toThrow(
    expect.objectContaining({ code: "backup-in-use" }),
  );
  const free = given(backups, created("b1"), completed("b1"));
  expect(free.when("expire", expiry)).toMatchObject([
    { name: "BackupExpired", data: { freedBytes: 5n } },
  ]);
});

test("verification marks a point, and an expired one is beyond it", () => {
  const input = { backupId: "b1", siteId: "site-1", manifestKey: "m" };
  const report = (problem: { code: string; message: string } | null) => ({
    ...facts(input),
    result: { bytesRead: 5, problem },
    durationMs: 1,
  });
  const ready = given(backups, created("b1"), completed("b1"));
  expect(names(ready.when("endVerification", report(null)))).toEqual(["BackupVerified"]);
  const broken = report({ code: "checksum-mismatch", message: "" });
  expect(names(ready.when("endVerification", broken))).toEqual(["BackupCorrupt"]);
  const gone = happened.BackupExpired({
    backupId: "b1",
    siteId: "site-1",
    rule: "r",
    freedBytes: 1n,
    jobId: "j",
  });
  expect(
    given(backups, created("b1"), completed("b1"), gone).when("endVerification", broken),
  ).toEqual([]);
});

test("nothing is due while backups fail", () => {
  const many = Array.from({ length: 40 }, (_, at) => `p${at}`).flatMap((id) => [
    created(id),
    completed(id),
  ]);
  const later = new Date("2027-01-01T00:00:00Z");
  const due = dueIn(given(backups, ...many).state, defaultRules, later);
  expect(due.length).toBeGreaterThan(30);
  const failing = ["f1", "f2", "f3"].flatMap((id) => [created(id), failed(id)]);
  expect(dueIn(given(backups, ...many, ...failing).state, defaultRules, later)).toEqual([]);
});
