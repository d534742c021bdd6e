import { randomBytes } from "node:crypto";
import {
  BackupKind,
  BackupStatus,
  type CreateBackupResponse,
  type GetBackupOverviewResponse,
  type GetBackupResponse,
  type ListBackupsResponse,
  type RestoreBackupResponse,
} from "@chom/proto/chom/backup/v1/backup";
import { SiteKind } from "@chom/proto/chom/provisioning/v1/provisioning";
import { type AnyAggregate, type EventMeta, fold } from "@chom/shared/aggregate/aggregate";
import type { NewEvent } from "@chom/shared/aggregate/event-types";
import { type Caller, plainHandler } from "@chom/shared/rpc/unary";
import { keyring } from "@chom/shared/secrets/keyring";
import { Secret } from "@chom/shared/secrets/secret";
import type { App, DispatchCommand } from "@chom/shared/service/app";
import { migrateService } from "@chom/shared/service/migrate";
import { openPostgres, type Postgres as Pool } from "@chom/shared/service/postgres";
import { type Postgres, startPostgres } from "@chom/stack/postgres";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { backups, happened } from "./backups.ts";
import { createBackup } from "./create-backup.ts";
import { backupList } from "./projections.ts";
import type { PointDeps } from "./read-point.ts";
import { restoreBackup } from "./restore-backup.ts";
import { backupRpc } from "./rpc.ts";
import { presentSites, siteBackupList } from "./site-backups.ts";
import { points, restores } from "./tables.ts";
import type { Vault } from "./vault.ts";
import { vaultSweep } from "./vault-sweep.ts";
import { verifyBackup } from "./verify-backup.ts";

const start = new Date("2026-11-01T12:00:00Z");
const after = (seconds: number): Date => new Date(start.getTime() + seconds * 1000);
const sealer = keyring([{ keyId: "k1", key: new Secret(randomBytes(32)) }], randomBytes);
const deps = {} as PointDeps;
const create = createBackup(deps);
const jobs = { create, restore: restoreBackup(deps), verify: verifyBackup(deps) };
let server: Postgres;
let pool: Pool;

beforeAll(async () => {
  server = await startPostgres();
  const urls = await server.createServiceRoles("backup", "test-password");
  pool = openPostgres(new Secret(urls.url), "backup");
  const folder = new URL("../migrations", import.meta.url);
  const url = new Secret(urls.ownerUrl);
  await migrateService({ url, service: "backup", shared: [], folder });
}, 120_000);
afterAll(async () => {
  await pool?.close();
  await server?.stop();
});
beforeEach(async () => {
  await pool.db.delete(points);
  await pool.db.delete(restores);
});

const siteOf = (tenant: string) => ({
  name: "SiteProvisioned",
  data: {
    siteId: "site-1",
    domain: "a.example",
    serverId: "server-1",
    kind: SiteKind.PHP,
    phpVersion: "8.2",
    sslEnabled: false,
    systemUser: "s-1",
    rootPath: "/srv/sites/s-1",
    databaseName: "s_1",
    serverAddresses: [],
    jobId: "j",
  },
  meta: { ...metaOf(tenant, 0), id: "site-1" },
});

function metaOf(tenant: string, position: number): EventMeta {
  const ids = { eventId: `e${position}`, actor: "", causationId: "", correlationId: "" };
  return { ...ids, time: after(position), tenant, id: "site-1", position };
}

/** A tenant's events of one site, told to the projection too, and an app that only writes dispatches down. */
function setup(now = after(1000)) {
  const told: { name: string; data: unknown; meta: EventMeta }[] = [];
  const dispatched: DispatchCommand[] = [];
  const tell = async (tenant: string, ...events: NewEvent[]) => {
    for (const event of events) {
      const meta = metaOf(tenant, told.length + 1);
      told.push({ ...event, meta });
      await backupList.on[event.name]?.(event.data, { ...meta, family: "" }, pool.db);
    }
  };
  const app = {
    db: pool.db,
    sealer,
    now: () => now,
    seen: async () => {},
    load: async (of: AnyAggregate, tenant: string) => {
      const events = of.name === "site" ? [siteOf("acme")] : told;
      const own = events.filter(({ meta }) => meta.tenant === tenant);
      return { state: fold(of, own), sequence: own.length };
    },
    dispatch: async (command: DispatchCommand) => {
      dispatched.push(command);
      return { jobId: command.jobId, position: dispatched.length, created: true };
    },
  } as unknown as App;
  const { implementation } = backupRpc(app, jobs);
  const call = <Response>(name: string, request: object, tenant = "acme") => {
    const caller = { tenant, actor: "someone", permissions: ["*"] } as unknown as Caller;
    const handler = implementation[name] as Parameters<typeof plainHandler>[0];
    return plainHandler(handler)(request, caller) as Promise<Response>;
  };
  return { app, call, dispatched, tell };
}

const ids = (backupId: string) => ({ backupId, siteId: "site-1", jobId: backupId });
const created = (backupId: string) =>
  happened.BackupCreated({
    ...ids(backupId),
    serverId: "server-1",
    kind: BackupKind.FULL,
    keepUntil: undefined,
    safetyPoint: false,
  });
const completed = (backupId: string) =>
  happened.BackupCompleted({
    ...ids(backupId),
    kind: BackupKind.FULL,
    sizeBytes: 5_000_000_000n,
    storedBytes: 7n,
    filesCount: 3n,
    tablesCount: 2n,
    manifestKey: `acme/site-1/${backupId}/1.1/manifest.json`,
    manifestSha256: "f".repeat(64),
    durationMs: 1n,
    gapMs: 2n,
    suspicious: false,
  });
const trouble = { code: "disk-full", message: "no room" };
const one = (backupId: string) => ({ backupId, minPosition: 0n });
const listing = (more: object = {}) => ({
  siteId: "site-1",
  pageSize: 2,
  pageToken: "",
  minPosition: 0n,
  ...more,
});
const asked = {
  requestId: "b9",
  siteId: "site-1",
  kind: BackupKind.FULL,
  retentionDays: 0,
  reason: "",
};

test("a point is shown through its life", async () => {
  const { call, tell } = setup();
  const shown = async () => (await call<GetBackupResponse>("getBackup", one("b1"))).backup;
  await tell("acme", created("b1"));
  expect(await shown()).toMatchObject({
    status: BackupStatus.PENDING,
    createdAt: after(1),
    completedAt: undefined,
  });
  await tell("acme", happened.BackupFailed({ ...ids("b1"), ...trouble }));
  expect(await shown()).toMatchObject({ status: BackupStatus.FAILED, failureCode: "disk-full" });
  await tell("acme", completed("b1"));
  expect(await shown()).toMatchObject({
    status: BackupStatus.AVAILABLE,
    sizeBytes: 5_000_000_000n,
    filesCount: 3n,
    completedAt: after(3),
    failureCode: "",
  });
  await tell(
    "acme",
    happened.BackupVerified({ ...ids("b1"), bytesRead: 7n, verifiedAt: after(4) }),
  );
  expect(await shown()).toMatchObject({ status: BackupStatus.VERIFIED, verifiedAt: after(4) });
  await tell("acme", happened.BackupCorrupt({ ...ids("b1"), ...trouble }));
  expect(await shown()).toMatchObject({ status: BackupStatus.CORRUPT });
  await tell("acme", happened.BackupExpired({ ...ids("b1"), rule: "r", freedBytes: 7n }));
  expect(await shown()).toMatchObject({ status: BackupStatus.EXPIRED });
});

test("case 20, 33: another tenant finds neither the site nor its points, by any call", async () => {
  const { call, tell, dispatched } = setup();
  await tell("acme", created("b1"), completed("b1"));
  const point = {
    requestId: "x",
    siteId: "site-1",
    backupId: "b1",
    acceptNoSafety: false,
    reason: "",
  };
  for (const [name, request] of [
    ["getBackup", one("b1")],
    ["createBackup", asked],
    ["restoreBackup", point],
    ["verifyBackup", point],
  ] as const) {
    await expect(call(name, request, "other"), name).rejects.toMatchObject({ kind: "not-found" });
  }
  expect(await call<ListBackupsResponse>("listBackups", listing(), "other")).toMatchObject({
    backups: [],
  });
  expect(dispatched).toEqual([]);
});

test("case 61: a list goes on where its page ended, and its token fits no other tenant", async () => {
  const { call, tell } = setup();
  for (const id of ["b1", "b2", "b3"]) await tell("acme", created(id));
  const first = await call<ListBackupsResponse>("listBackups", listing());
  expect(first.backups.map(({ backupId }) => backupId)).toEqual(["b1", "b2"]);
  const token = { pageToken: first.nextPageToken };
  const second = await call<ListBackupsResponse>("listBackups", listing(token));
  expect(second.backups.map(({ backupId }) => backupId)).toEqual(["b3"]);
  expect(second.nextPageToken).toBe("");
  const stolen = call("listBackups", listing(token), "other");
  await expect(stolen).rejects.toMatchObject({ kind: "invalid" });
});

test("a backup is asked for with the site's own facts, and again with the same input", async () => {
  const { call, tell, dispatched } = setup();
  const response = await call<CreateBackupResponse>("createBackup", { ...asked, retentionDays: 3 });
  expect(response).toEqual({ jobId: "b9", backupId: "b9", position: 1n });
  const [first] = dispatched;
  expect(first).toMatchObject({
    jobId: "b9",
    input: { serverId: "server-1", systemUser: "s-1", keepUntil: new Date("2026-11-05T00:00:00Z") },
    options: { timeoutMs: 3_600_000 },
  });
  const { input } = first as { input: Parameters<typeof create.dispatch>[0] };
  const { backupId, siteId, serverId, kind, keepUntil, safetyPoint } = input;
  await tell(
    "acme",
    happened.BackupCreated({
      backupId,
      siteId,
      serverId,
      kind,
      keepUntil,
      safetyPoint,
      jobId: "b9",
    }),
  );
  await tell("acme", completed("b9"));
  const days = { ...asked, retentionDays: 3 };
  const later = setup(after(3 * 86_400));
  await later.tell(
    "acme",
    happened.BackupCreated({
      backupId,
      siteId,
      serverId,
      kind,
      keepUntil,
      safetyPoint,
      jobId: "b9",
    }),
  );
  await later.call("createBackup", days);
  expect(later.dispatched[0]?.input).toEqual(input);
  await call("createBackup", days);
  expect(dispatched[1]).toMatchObject({ input, options: { timeoutMs: 120_000 + 2_500_000 } });
});

test("a request that makes no sense names every field", async () => {
  const { call } = setup();
  const bad = {
    requestId: "A B",
    siteId: "",
    kind: BackupKind.UNSPECIFIED,
    retentionDays: 9999,
    reason: "a\nb",
  };
  const failure = await call("createBackup", bad).catch((error: unknown) => error);
  const { violations } = failure as { violations: { field: string }[] };
  expect(violations.map(({ field }) => field)).toEqual([
    "request_id",
    "site_id",
    "kind",
    "retention_days",
    "reason",
  ]);
});

test("only a point that was completed and is still there can be restored", async () => {
  const { call, tell, dispatched } = setup();
  const request = (backupId: string) => ({
    requestId: "r1",
    siteId: "site-1",
    backupId,
    acceptNoSafety: true,
    reason: "",
  });
  await tell("acme", created("b1"), created("b2"), completed("b2"));
  await expect(call("restoreBackup", request("none"))).rejects.toMatchObject({ kind: "not-found" });
  await expect(call("restoreBackup", request("b1"))).rejects.toMatchObject({ kind: "rejected" });
  const response = await call<RestoreBackupResponse>("restoreBackup", request("b2"));
  expect(response).toMatchObject({ jobId: "r1", restoreId: "r1" });
  expect(dispatched[0]?.input).toMatchObject({
    backupId: "b2",
    acceptNoSafety: true,
    estimatedBytes: 5_000_000_000n,
  });
  await tell("acme", happened.BackupExpired({ ...ids("b2"), rule: "r", freedBytes: 1n }));
  await expect(call("restoreBackup", request("b2"))).rejects.toMatchObject({ kind: "rejected" });
});

test("a restore's row ends as its events say", async () => {
  const { tell } = setup();
  const restore = { restoreId: "r1", backupId: "b1", siteId: "site-1", jobId: "r1" };
  await tell("acme", happened.RestoreStarted({ ...restore, serverId: "server-1" }));
  expect(await pool.db.select().from(restores)).toMatchObject([
    { status: "RESTORE_STATUS_RUNNING", endedAt: null },
  ]);
  await tell("acme", happened.RestoreRolledBack({ ...restore, ...trouble }));
  expect(await pool.db.select().from(restores)).toMatchObject([
    { status: "RESTORE_STATUS_ROLLED_BACK", failureCode: "disk-full", endedAt: after(2) },
  ]);
});

test("the sweep removes what writers left two days ago, from every vault", async () => {
  const { app } = setup();
  const swept: Date[] = [];
  const vault = { sweep: async (before: Date) => swept.push(before) } as unknown as Vault;
  await vaultSweep(app, [vault, vault]).run(new AbortController().signal);
  expect(swept).toEqual([after(1000 - 172_800), after(1000 - 172_800)]);
});

test("events that came twice change nothing", async () => {
  const { tell } = setup();
  const events = [created("b1"), completed("b1")];
  await tell("acme", ...events);
  await tell("acme", ...events);
  expect(await pool.db.select().from(points)).toMatchObject([
    { status: BackupStatus.AVAILABLE, createdAt: after(1) },
  ]);
  expect(backups.name).toBe(
    backupList.source.stream === "EVENTS" ? backupList.source.aggregate : "",
  );
});

test("the overview tells how old the newest backups are and what was last proven", async () => {
  const now = new Date(start.getTime() + 10 * 86_400_000);
  const { call } = setup(now);
  const hour = 3_600;
  const day = (hoursAgo: number) => 240 * hour - hoursAgo * hour;
  const note = async (of: typeof siteBackupList, name: string, id: string, seconds: number) => {
    const meta = { ...metaOf("view", seconds), id, family: "" };
    await of.on[name]?.({ code: "disk-full" }, meta, pool.db);
  };
  for (const [id, hoursAgo] of [
    ["new", 1],
    ["two", 30],
    ["three", 60],
    ["old", 200],
  ] as const) {
    await note(presentSites, "SiteProvisioned", id, 0);
    await note(siteBackupList, "BackupCompleted", id, day(300));
    await note(siteBackupList, "BackupCompleted", id, day(hoursAgo));
  }
  await note(presentSites, "SiteProvisioned", "never", 0);
  await note(siteBackupList, "BackupFailed", "never", day(2));
  await note(siteBackupList, "BackupVerified", "two", day(3));
  await note(siteBackupList, "RestoreCompleted", "old", day(100));
  // A site that is gone needs no backup, whichever of the logs is read first.
  await note(presentSites, "SiteDeprovisioned", "gone", day(2));
  await note(siteBackupList, "BackupCompleted", "gone", day(400));
  const ask = (tenant: string, minPosition = 0n) =>
    call<GetBackupOverviewResponse>("getBackupOverview", { minPosition }, tenant);
  const found = await ask("view");
  expect(found.buckets.map(({ sites }) => sites)).toEqual([1n, 1n, 1n, 1n]);
  expect(found.without).toBe(1n);
  expect(found.oldest.map(({ siteId }) => siteId)).toEqual(["never", "old", "three", "two", "new"]);
  expect(found.oldest[0]).toMatchObject({ lastFailureCode: "disk-full" });
  expect(found).toMatchObject({ lastVerifiedSiteId: "two", lastRestoredSiteId: "old" });
  expect((await ask("nobody")).oldest).toEqual([]);
  await expect(ask("view", -1n)).rejects.toMatchObject({ kind: "invalid" });
});
