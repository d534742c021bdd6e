import { randomBytes } from "node:crypto";
import { CertificateStatus, type ListCertificatesResponse } from "@chom/proto/chom/ssl/v1/ssl";
import { failureOf } from "@chom/shared/failure/failure";
import type { ProjectedMeta } from "@chom/shared/projection/projection";
import type { Caller } from "@chom/shared/rpc/unary";
import { plainHandler } from "@chom/shared/rpc/unary";
import { keyring } from "@chom/shared/secrets/keyring";
import { Secret } from "@chom/shared/secrets/secret";
import type { App, DispatchCommand } from "@chom/shared/service/app";
import { migrateService } from "@chom/shared/service/migrate";
import { openPostgres, type Postgres as Pool } from "@chom/shared/service/postgres";
import { createLogger } from "@chom/shared/telemetry/logger";
import { type Postgres, startPostgres } from "@chom/stack/postgres";
import { afterAll, beforeAll, expect, test } from "vitest";
import { loadAccountKey } from "./account-key.ts";
import type { AcmeClient } from "./acme/client.ts";
import { accountKey } from "./acme/jws.ts";
import { certificate } from "./certificate.ts";
import { issueCertificate } from "./issue-certificate.ts";
import type { Outside } from "./obtain-certificate.ts";
import { certificateList } from "./projections.ts";
import { renewCertificate } from "./renew-certificate.ts";
import { renewalJobId } from "./renewal-policy.ts";
import { renewalSweep } from "./renewals.ts";
import { sslRpc } from "./rpc.ts";
import { acmeAccounts } from "./tables.ts";

const dayMs = 86_400_000;
const start = new Date("2026-11-01T00:00:00Z");
const after = (days: number): Date => new Date(start.getTime() + days * dayMs);
const sealer = keyring([{ keyId: "k1", key: new Secret(randomBytes(32)) }], randomBytes);
const signal = AbortSignal.timeout(60_000);
let server: Postgres;
let pool: Pool;

beforeAll(async () => {
  server = await startPostgres();
  const urls = await server.createServiceRoles("ssl", "test-password");
  pool = openPostgres(new Secret(urls.url), "ssl");
  const url = new Secret(urls.ownerUrl);
  const folder = new URL("../migrations", import.meta.url);
  await migrateService({ url, service: "ssl", shared: [], folder });
}, 120_000);
afterAll(async () => {
  await pool?.close();
  await server?.stop();
});

const outside = {} as Outside;
const jobs = { issue: issueCertificate(outside), renew: renewCertificate(outside) };

/** An app whose dispatches and commands are only written down. */
function appAt(now: Date) {
  const dispatched: DispatchCommand[] = [];
  const handled: unknown[] = [];
  const app = {
    db: pool.db,
    sealer,
    logger: createLogger({ service: "test", level: "silent" }),
    now: () => now,
    seen: async () => {},
    load: async () => ({ state: certificate.initial(), sequence: 0 }),
    dispatch: async (command: DispatchCommand) => {
      dispatched.push(command);
      return { jobId: command.jobId, position: dispatched.length, created: true };
    },
    handle: async (...[, id, command, input]: unknown[]) => {
      handled.push({ id, command, input });
      return { position: 1, decided: 1 };
    },
  } as unknown as App;
  return { app, dispatched, handled };
}

const meta = (tenant: string, id: string, days = 0): ProjectedMeta => ({
  eventId: "e",
  time: after(days),
  tenant,
  id,
  position: 1,
  actor: "a",
  causationId: "",
  correlationId: "",
  family: "",
});
const tell = (name: string, data: object, of: ProjectedMeta) =>
  certificateList.on[name]?.(data, of, pool.db);
const names = (siteId: string) => ({
  siteId,
  domain: `${siteId}.test`,
  serverId: "server-1",
  jobId: "job-1",
});
const issued = (siteId: string, renewAt = after(60)) => ({
  ...names(siteId),
  serial: `serial-${siteId}`,
  issuer: "CN=ca",
  notBefore: start,
  notAfter: after(90),
  renewAt,
  names: [`${siteId}.test`],
  ariId: `ari.${siteId}`,
  fingerprint: "f",
});
const caller = (tenant: string): Caller => ({
  tenant,
  actor: "someone",
  permissions: ["*"],
  service: undefined,
  traceparent: "",
  signal,
  deadline: after(400),
});
// biome-ignore lint/suspicious/noExplicitAny: handlers of different requests by name.
const call = (app: App, name: string, request: object, tenant: string): Promise<any> =>
  plainHandler(sslRpc(app, jobs).implementation[name] as never)(request, caller(tenant));

test("the list follows a certificate through its life", async () => {
  const { app } = appAt(start);
  const of = meta("life", "site-1");
  const look = async () =>
    (await call(app, "getCertificate", { siteId: "site-1", minPosition: 0n }, "life")).certificate;
  await tell("CertificateRequested", names("site-1"), of);
  expect(await look()).toMatchObject({ status: CertificateStatus.PENDING, domain: "site-1.test" });
  await tell("CertificateIssueDeferred", { reason: "points elsewhere" }, of);
  expect(await look()).toMatchObject({
    status: CertificateStatus.DEFERRED,
    reason: "points elsewhere",
  });
  await tell("CertificateIssued", issued("site-1"), of);
  expect(await look()).toMatchObject({
    status: CertificateStatus.ACTIVE,
    reason: "",
    notAfter: after(90),
    serial: "serial-site-1",
  });
  await tell("CertificateFailed", { code: "acme-server", message: "down" }, of);
  expect(await look()).toMatchObject({
    status: CertificateStatus.ACTIVE,
    reason: "acme-server: down",
  });
  await tell("CertificateRenewalPlanned", { renewAt: after(55) }, of);
  expect(await look()).toMatchObject({ renewAt: after(55) });
  await tell("CertificateDropped", {}, of);
  await expect(look()).rejects.toMatchObject({ kind: "not-found" });
});

test("lists come in pages, and nobody sees or pages through another tenant's", async () => {
  const { app } = appAt(start);
  for (let i = 0; i < 5; i += 1)
    await tell("CertificateIssued", issued(`p-${i}`), meta("pages", `p-${i}`, i % 2));
  const page = (request: object, tenant = "pages"): Promise<ListCertificatesResponse> =>
    call(
      app,
      "listCertificates",
      { pageSize: 2, pageToken: "", minPosition: 0n, ...request },
      tenant,
    );
  const seen: string[] = [];
  let pageToken = "";
  do {
    const found = await page({ pageToken });
    seen.push(...found.certificates.map(({ siteId }) => siteId));
    pageToken = found.nextPageToken;
  } while (pageToken !== "");
  expect(seen).toEqual(["p-0", "p-2", "p-4", "p-1", "p-3"]);
  expect((await page({}, "stranger")).certificates).toEqual([]);
  const { nextPageToken } = await page({});
  await expect(page({ pageToken: nextPageToken }, "stranger")).rejects.toMatchObject({
    kind: "invalid",
  });
  await expect(call(app, "getCertificate", { siteId: "p-0" }, "stranger")).rejects.toMatchObject({
    kind: "not-found",
  });
});

test("a site or a certificate that is not the caller's is not found, and bad fields are named together", async () => {
  const { app, dispatched } = appAt(start);
  const request = { requestId: "r-1", siteId: "site-9", reason: "" };
  const absent = {
    ...app,
    load: async () => ({ state: { status: "absent", serial: "" }, sequence: 0 }),
  } as unknown as App;
  await expect(call(absent, "issueCertificate", request, "t")).rejects.toMatchObject({
    code: "site-not-found",
  });
  await expect(call(absent, "renewCertificate", request, "t")).rejects.toMatchObject({
    code: "certificate-not-found",
  });
  await expect(
    call(app, "issueCertificate", { requestId: "", siteId: "../x", reason: "" }, "t"),
  ).rejects.toMatchObject({
    violations: [{ field: "request_id" }, { field: "site_id" }],
  });
  const site = { status: "provisioned", domain: "s.test", serverId: "server-1" };
  const there = { ...app, load: async () => ({ state: site, sequence: 3 }) } as unknown as App;
  expect(await call(there, "issueCertificate", request, "t")).toEqual({
    jobId: "r-1",
    position: 1n,
  });
  expect(dispatched).toMatchObject([
    {
      tenant: "t",
      actor: "someone",
      input: { siteId: "site-9", domain: "s.test", serverId: "server-1" },
    },
  ]);
});

const caThat = (renewalInfo: AcmeClient["renewalInfo"]) =>
  ({ renewalInfo }) as unknown as AcmeClient;

test("the sweep dispatches what is due, once a day and certificate, whoever sweeps", async () => {
  await pool.sql`delete from ssl.certificates`;
  await tell("CertificateIssued", issued("due", after(60)), meta("sweep", "due"));
  await tell("CertificateIssued", issued("later", after(61)), meta("sweep", "later"));
  const sweepAt = async (now: Date) => {
    const { app, dispatched } = appAt(now);
    const tick = renewalSweep(app, { ca: caThat(async () => null), renew: jobs.renew });
    await tick.run(signal);
    await tick.run(signal);
    return dispatched.map(({ jobId, input }) => ({ jobId, input }));
  };
  const id = (siteId: string, day: number) =>
    renewalJobId({ tenant: "sweep", siteId, serial: `serial-${siteId}` }, day);
  expect(await sweepAt(after(59.9))).toEqual([]);
  expect(await sweepAt(after(60))).toMatchObject([
    { jobId: id("due", 0), input: { siteId: "due", ariId: "ari.due", force: false } },
  ]);
  expect(await sweepAt(after(60.5))).toMatchObject([{ jobId: id("due", 0) }]);
  expect((await sweepAt(after(61.2))).map(({ jobId }) => jobId).toSorted()).toEqual(
    [id("due", 1), id("later", 0)].toSorted(),
  );
});

test("the CA's advice moves a renewal, is asked for as often as it wants, and one refusal stops nobody", async () => {
  await pool.sql`delete from ssl.certificates`;
  for (const site of ["a", "b", "c"])
    await tell("CertificateIssued", issued(site, after(60)), meta("ari", site));
  let now = start;
  const { app, handled } = appAt(start);
  const asked: string[] = [];
  const ca = caThat(async (ariId) => {
    asked.push(ariId);
    if (ariId === "ari.b") throw failureOf("acme-server", "busy");
    return { window: { start: after(1), end: after(2) }, askAgainMs: 6 * 3_600_000 };
  });
  const tick = renewalSweep({ ...app, now: () => now }, { ca, renew: jobs.renew });
  await tick.run(signal);
  expect(asked.toSorted()).toEqual(["ari.a", "ari.b", "ari.c"]);
  expect(handled).toMatchObject([
    { command: "plan", input: { basis: "ari" } },
    { command: "plan" },
  ]);
  now = new Date(start.getTime() + 2 * 3_600_000);
  await tick.run(signal);
  expect(asked.slice(3)).toEqual(["ari.b"]);
  now = new Date(start.getTime() + 6.5 * 3_600_000);
  await tick.run(signal);
  expect(asked.slice(4).toSorted()).toEqual(["ari.a", "ari.b", "ari.c"]);
});

test("the account key is made once, by one of many replicas, and is sealed where it lies", async () => {
  const app = { db: pool.db, sealer };
  const keys = await Promise.all(
    Array.from({ length: 8 }, () => loadAccountKey(app, "https://ca.test/dir")),
  );
  expect(new Set(keys.map((key) => accountKey(key).thumbprint)).size).toBe(1);
  const other = await loadAccountKey(app, "https://other.test/dir");
  expect(accountKey(other).thumbprint).not.toBe(accountKey(keys[0] as Secret).thumbprint);
  const rows = JSON.stringify(await pool.db.select().from(acmeAccounts));
  const body = keys[0]?.reveal().split("\n")[1] ?? expect.unreachable();
  expect(rows).not.toContain(body);
  expect(Buffer.from(rows).toString("latin1")).not.toContain("PRIVATE KEY");
  const swapped = {
    ...app,
    sealer: keyring([{ keyId: "k1", key: new Secret(randomBytes(32)) }], randomBytes),
  };
  await expect(loadAccountKey(swapped, "https://ca.test/dir")).rejects.toMatchObject({
    code: "seal-broken",
  });
});

test("the overview counts certificates by days left, and names those that end soonest", async () => {
  const at = after(30);
  const { app } = appAt(at);
  const ends = { ended: 30, soon: 36, fortnight: 43, month: 50, two: 80, later: 300 };
  for (const [siteId, days] of Object.entries(ends)) {
    const notAfter = new Date(after(days).getTime() - 1);
    await tell("CertificateIssued", { ...issued(siteId), notAfter }, meta("view", siteId));
  }
  await tell("CertificateRequested", names("waiting"), meta("view", "waiting"));
  await tell("CertificateIssued", issued("foreign"), meta("other-view", "foreign"));
  const found = await call(app, "getCertificateOverview", { minPosition: 0n }, "view");
  expect(found.buckets).toEqual([
    ...[0, 7, 14, 30, 60].map((belowDays) => ({ belowDays, certificates: 1n })),
    { certificates: 1n },
  ]);
  expect(found.without).toBe(1n);
  const soonest = found.soonest.map(({ siteId }: { siteId: string }) => siteId);
  expect(soonest).toEqual(["ended", "soon", "fortnight", "month", "two", "later"]);
  const bad = call(app, "getCertificateOverview", { minPosition: -1n }, "view");
  await expect(bad).rejects.toMatchObject({ violations: [{ field: "min_position" }] });
});
