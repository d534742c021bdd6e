/** Every RPC, every field, bad values: refused with the field named, and nothing written. */
import { BackupKind } from "@chom/proto/chom/backup/v1/backup";
import { SiteKind } from "@chom/proto/chom/provisioning/v1/provisioning";
import { permissions } from "@chom/proto/permissions";
import { classify } from "@chom/shared/failure/failure";
import { hostileTexts } from "@chom/shared/testing/hostile-text";
import type { Clients } from "@chom/stack/clients";
import { afterAll, beforeAll, expect, test } from "vitest";
import { storedEntries } from "./stored-entries.ts";
import { startWorld, type World } from "./world.ts";

const absent = "absent-000000";
const hostKey = `ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI${"A".repeat(43)}`;
const paging = { pageSize: 0, pageToken: "", minPosition: 0n };

/** A request of each RPC whose form is right, so that one field at a time can be spoiled. */
const wellFormed: Record<string, Record<string, unknown>> = {
  "backup.createBackup": {
    requestId: "r1",
    siteId: absent,
    kind: BackupKind.FULL,
    retentionDays: 0,
    reason: "",
  },
  "backup.restoreBackup": {
    requestId: "r1",
    siteId: absent,
    backupId: absent,
    acceptNoSafety: false,
    reason: "",
  },
  "backup.verifyBackup": { requestId: "r1", siteId: absent, backupId: absent },
  "backup.getBackup": { backupId: absent, minPosition: 0n },
  "backup.listBackups": { siteId: absent, ...paging },
  "credentials.registerServer": {
    requestId: "r1",
    name: "web1",
    address: "203.0.113.7",
    port: 22,
    user: "chom",
    hostKeys: [hostKey],
  },
  "credentials.installKey": { serverId: absent, oneTimePassword: "", oneTimePrivateKey: "" },
  "credentials.getServer": { serverId: absent, minPosition: 0n },
  "credentials.listServers": { ...paging },
  "credentials.rotateKey": { requestId: "r1", serverId: absent, overlapSeconds: 60n, reason: "" },
  "provisioning.provisionSite": {
    requestId: "r1",
    domain: "a.example.com",
    serverId: absent,
    kind: SiteKind.STATIC,
    phpVersion: "",
    database: false,
    sslEnabled: false,
    reason: "",
    adminEmail: "",
  },
  "provisioning.deprovisionSite": { requestId: "r1", siteId: absent, reason: "" },
  "provisioning.getSite": { siteId: absent, minPosition: 0n },
  "provisioning.revealSiteSecrets": { siteId: absent },
  "provisioning.listSites": { serverId: "", ...paging },
  "ssl.issueCertificate": { requestId: "r1", siteId: absent, reason: "" },
  "ssl.renewCertificate": { requestId: "r1", siteId: absent, force: false, reason: "" },
  "ssl.getCertificate": { siteId: absent, minPosition: 0n },
  "ssl.listCertificates": { ...paging },
  "jobs.getJob": { jobId: absent, minPosition: 0n },
  "jobs.listJobs": {
    family: "",
    name: "",
    states: [],
    siteId: "",
    serverId: "",
    tag: "",
    queuedAfter: undefined,
    queuedBefore: undefined,
    endedAfter: undefined,
    endedBefore: undefined,
    queue: "",
    failureCode: "",
    chainId: "",
    batchId: "",
    scheduleId: "",
    idPrefix: "",
    includeForgotten: false,
    ...paging,
  },
  "jobs.cancelJob": { jobId: absent, reason: "" },
  "jobs.getJobDetail": { jobId: absent, minPosition: 0n },
  "jobs.resumeJob": { jobId: absent, reason: "" },
  "schedules.getSchedule": { scheduleId: absent, minPosition: 0n },
  "schedules.pauseSchedule": { scheduleId: absent, reason: "", until: undefined },
  "schedules.resumeSchedule": { scheduleId: absent, reason: "" },
  "schedules.removeSchedule": { scheduleId: absent, reason: "" },
  "schedules.runSchedule": { scheduleId: absent, requestId: "r1" },
  "flows.getChain": { chainId: absent, minPosition: 0n },
  "flows.cancelChain": { chainId: absent, reason: "" },
  "flows.getBatch": { batchId: absent, minPosition: 0n },
  "flows.cancelBatch": { batchId: absent, reason: "" },
};

/** RPCs whose bad input is another test's business: whole specs, streams, and what is the platform's alone. */
const elsewhere: Readonly<Record<string, readonly string[]>> = {
  "packages/e2e/src/dispatch.test.ts": ["DispatchJob"],
  "packages/e2e/src/flows.test.ts": [
    ...["CreateChain", "CreateBatch", "AddToBatch", "ListChains", "ListBatches"],
  ],
  "packages/e2e/src/schedules.test.ts": [
    ...["CreateSchedule", "ChangeSchedule", "ListSchedules", "ListTicks"],
  ],
  "services/scheduler/src/console.int.test.ts": [
    ...["RetryJobs", "ForgetJobs", "FlushFailedJobs", "ListAlerts", "MonitorQueues"],
  ],
  "services/scheduler/src/queues.int.test.ts": [
    ...["ListQueues", "PauseQueue", "ResumeQueue", "ClearQueue", "ListLeases"],
  ],
  "services/backup/src/console.int.test.ts": [
    ...["CreateDatabaseBackup", "ListDatabaseBackups", "RestoreDatabaseBackup"],
    ...["PreviewClean", "CleanBackups", "GetCleaning"],
  ],
  "services/scheduler/src/audit/audit.int.test.ts": ["ListEntries"],
  "services/credentials/src/secrets-console.int.test.ts": [
    ...["PreviewRotation", "RotateDueKeys", "GetRotationRun"],
  ],
  "services/credentials/src/tokens.int.test.ts": [
    ...["CreateToken", "ListTokens", "RevokeToken", "GetCaller"],
  ],
  "services/scheduler/src/overview/overview.int.test.ts": ["GetOverview", "GetThroughput"],
  "services/credentials/src/keys.int.test.ts": [
    ...["GetKeyStatus", "RewrapKeys", "RotateTenantKey", "PreviewErasure", "EraseTenant"],
  ],
  "services/scheduler/src/archive/archive.int.test.ts": [
    ...["Check", "Complete", "ListMissing", "AcceptLog"],
  ],
  "services/scheduler/src/doctor/doctor.int.test.ts": [
    ...["Diagnose", "Mend", "ListProjections", "RebuildProjections"],
  ],
  "services/backup/src/read-model.int.test.ts": ["GetBackupOverview"],
  "services/ssl/src/read-model.int.test.ts": ["GetCertificateOverview"],
};

const hostile = [
  "$(touch /tmp/x); rm -rf / #",
  "a'b\"c`d",
  "line\nbreak",
  "nul\0byte",
  "x".repeat(5_000),
];
/** Text for people takes any sign but control characters; it never reaches a shell, a query or a configuration. */
const freeText = new Set(["reason", "tag"]);
const hostileText = ["line\nbreak", "nul\0byte", "x".repeat(5_000)];
const required = new Set([
  "requestId",
  "siteId",
  "serverId",
  "backupId",
  "jobId",
  "scheduleId",
  "chainId",
  "batchId",
  "domain",
  "name",
  "address",
]);
const optionalIn = new Set(["provisioning.listSites", "jobs.listJobs"]);
const secretFields = new Set(["oneTimePassword", "oneTimePrivateKey"]);
const snake = (name: string) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

let world: World;
beforeAll(async () => {
  // Nothing writes here but what is tested.
  world = await startWorld({ settings: { scheduler: { CHOM_DEFAULT_SCHEDULES: "false" } } });
});
afterAll(() => world?.stop());

type AnyCall = (request: unknown) => Promise<unknown>;
const callOf = (clients: Clients, rpc: string): AnyCall => {
  const [service = "", method = ""] = rpc.split(".");
  const client = (clients as unknown as Record<string, Record<string, AnyCall>>)[service];
  const call = client?.[method];
  if (!call) throw new Error(`no client for ${rpc}`);
  return call;
};

const refusal = (rpc: string, request: unknown) =>
  callOf(
    world.clients,
    rpc,
  )(request).then(
    () => ({ kind: "none", fields: [] as string[] }),
    (error: unknown) => {
      const { kind, violations } = classify(error);
      return { kind, fields: violations.map(({ field }) => field) };
    },
  );

test("the table of requests has every RPC of the contract", () => {
  const streams = ["WatchJob", "WatchJobs", "Subscribe", "Verify"];
  const declared = Object.entries(permissions)
    .filter(([path, permission]) => permission !== "service" && path.includes("chom."))
    .map(([path]) => path.slice(path.lastIndexOf("/") + 1))
    .filter((name) => !streams.includes(name));
  const here = Object.keys(wellFormed).map((rpc) => rpc.slice(rpc.indexOf(".") + 1).toLowerCase());
  const there = Object.values(elsewhere).flatMap((names) =>
    names.map((name) => name.toLowerCase()),
  );
  const tested = [...here, ...there];
  expect(declared.map((name) => name.toLowerCase()).sort()).toEqual(tested.sort());
});

for (const [rpc, request] of Object.entries(wellFormed)) {
  test(`case 01, 02, 61: ${rpc} names the spoiled field and writes nothing`, async () => {
    const before = await storedEntries(world.stack);
    for (const [field, value] of Object.entries(request)) {
      if (typeof value !== "string" || secretFields.has(field)) continue;
      const isEnum = /^[A-Z]+_KIND_/.test(value);
      const bad = isEnum
        ? [value.replace(/_KIND_.*/, "_KIND_UNSPECIFIED")]
        : [...(freeText.has(field) ? hostileText : hostile)];
      if (required.has(field) && !optionalIn.has(rpc)) bad.push("");
      for (const spoiled of bad) {
        const { kind, fields } = await refusal(rpc, { ...request, [field]: spoiled });
        const what = `${rpc} with ${field} = ${JSON.stringify(spoiled.slice(0, 30))}`;
        expect([kind, what]).toEqual(["invalid", what]);
        expect(fields, what).toContain(snake(field));
      }
    }
    expect(await storedEntries(world.stack)).toEqual(before);
  });
}

/** Texts for each field of each RPC. */
const hostileCount = process.env["CHOM_HOSTILE"] === "long" ? 1_000 : 4;

/** What went otherwise than it should: a text that is no text for people is refused, by its field's name. */
async function misjudged(rpc: string, field: string, texts: readonly string[]): Promise<unknown[]> {
  const answers = await Promise.all(
    texts.map((text) => refusal(rpc, { ...wellFormed[rpc], [field]: text })),
  );
  return answers.flatMap(({ kind, fields }, at) => {
    const isText = freeText.has(field) && (kind === "not-found" || kind === "none");
    const isRefused = kind === "invalid" && fields.includes(snake(field));
    return isText || isRefused ? [] : [{ rpc, field, kind, fields, text: texts[at] }];
  });
}

test("case 01, 02, 03, 09, 10, 12, 46, 58: hostile texts in every field are refused, or are text and nothing else", async () => {
  const before = await storedEntries(world.stack);
  const next = hostileTexts(3);
  const wrong: unknown[] = [];
  for (const [rpc, request] of Object.entries(wellFormed)) {
    for (const [field, value] of Object.entries(request)) {
      const isText = typeof value === "string" && !/^[A-Z]+_KIND_/.test(value);
      if (!isText || secretFields.has(field)) continue;
      for (let sent = 0; sent < hostileCount; sent += 8) {
        const made = Array.from({ length: Math.min(8, hostileCount - sent) }, next);
        // What is a name after all, like "null", is no hostile one.
        const texts = made.filter((text) => !/^[\w.:-]*$/.test(text));
        wrong.push(...(await misjudged(rpc, field, texts)));
      }
    }
  }
  expect(wrong).toEqual([]);
  expect(await storedEntries(world.stack)).toEqual(before);
}, 7_200_000);

test("case 33, 34: an id that does not exist and another tenant's id are both NOT_FOUND", async () => {
  const before = await storedEntries(world.stack);
  for (const rpc of Object.keys(wellFormed).filter((name) => !/list|register/i.test(name))) {
    expect([rpc, (await refusal(rpc, wellFormed[rpc])).kind]).toEqual([rpc, "not-found"]);
  }
  expect(await storedEntries(world.stack)).toEqual(before);
  const other = await world.as("other");
  const { serverId } = await other.credentials.registerServer(
    wellFormed["credentials.registerServer"] as never,
  );
  const foreign = { ...wellFormed["credentials.getServer"], serverId };
  expect((await refusal("credentials.getServer", foreign)).kind).toBe("not-found");
  const rotate = { ...wellFormed["credentials.rotateKey"], serverId };
  expect((await refusal("credentials.rotateKey", rotate)).kind).toBe("not-found");
  const provision = { ...wellFormed["provisioning.provisionSite"], serverId };
  expect((await refusal("provisioning.provisionSite", provision)).kind).toBe("not-found");
});
