import { randomBytes } from "node:crypto";
import type {
  GetSiteResponse,
  ListSitesResponse,
  RevealSiteSecretsResponse,
} from "@chom/proto/chom/provisioning/v1/provisioning";
import { SiteKind, SiteStatus } from "@chom/proto/chom/provisioning/v1/provisioning";
import type { ProjectedMeta } from "@chom/shared/projection/projection";
import { type Caller, plainHandler } from "@chom/shared/rpc/unary";
import { keyring } from "@chom/shared/secrets/keyring";
import { Secret } from "@chom/shared/secrets/secret";
import type { App } from "@chom/shared/service/app";
import { migrateService } from "@chom/shared/service/migrate";
import { openPostgres, type Postgres as Pool } from "@chom/shared/service/postgres";
import { createLogger } from "@chom/shared/telemetry/logger";
import { type Postgres, startPostgres } from "@chom/stack/postgres";
import { afterAll, beforeAll, expect, test } from "vitest";
import { namesOf } from "./names.ts";
import { claimedDomains, siteList } from "./projections.ts";
import { provisioningRpc } from "./rpc.ts";
import { siteSecretsIn } from "./site-secrets.ts";
import { site } from "./site.ts";
import { sweepCutRequests } from "./sweep.ts";
import { domains, siteSecrets } from "./tables.ts";

const start = new Date("2026-11-01T00:00:00Z");
const sealer = keyring([{ keyId: "k1", key: new Secret(randomBytes(32)) }], randomBytes);
const signal = AbortSignal.timeout(120_000);
let server: Postgres;
let pool: Pool;

beforeAll(async () => {
  server = await startPostgres();
  const urls = await server.createServiceRoles("provisioning", "test-password");
  pool = openPostgres(new Secret(urls.url), "provisioning");
  const url = new Secret(urls.ownerUrl);
  const folder = new URL("../migrations", import.meta.url);
  await migrateService({ url, service: "provisioning", shared: [], folder });
}, 120_000);
afterAll(async () => {
  await pool?.close();
  await server?.stop();
});

type Handled = { id: string; command: string; input: unknown };

/** An app over the real database, whose aggregates and journals are given. */
function appWith(
  statuses: Readonly<Record<string, string>> = {},
  journals: readonly string[] = [],
) {
  const handled: Handled[] = [];
  const app = {
    name: "provisioning",
    db: pool.db,
    sealer,
    logger: createLogger({ service: "test", level: "silent" }),
    now: () => new Date(start.getTime() + 3_600_000),
    newId: () => "new-id",
    seen: async () => {},
    log: {
      last: async (_: string, subject: string) => journals.find((each) => subject.endsWith(each)),
    },
    load: async (_: unknown, tenant: string, id: string) => ({
      state: { ...site.initial(), status: statuses[`${tenant}/${id}`] ?? "absent" },
      sequence: 0,
    }),
    handle: async (...[, id, command, input]: [unknown, string, string, unknown]) => {
      handled.push({ id, command, input });
      return { position: 1, decided: 1 };
    },
  };
  return { app: app as unknown as App, handled };
}

const rpcOf = (app: App) =>
  provisioningRpc(app, {
    provision: {} as never,
    deprovision: {} as never,
    secrets: siteSecretsIn(app),
    archives: { wordpress: undefined, laravel: undefined },
  });

async function call<Response>(app: App, method: string, request: object, tenant: string) {
  const handler = rpcOf(app).implementation[method];
  const caller = { tenant, actor: "someone", permissions: ["*"], signal, deadline: new Date() };
  const whole = { ...caller, service: undefined, traceparent: "" } satisfies Caller;
  return (await plainHandler(handler as never)(request, whole)) as Response;
}

const get = (siteId: string, tenant = "tenant-1") =>
  call<GetSiteResponse>(appWith().app, "getSite", { siteId, minPosition: 0n }, tenant);
const list = (more: object = {}, tenant = "tenant-1") => {
  const request = { serverId: "", pageSize: 0, pageToken: "", minPosition: 0n, ...more };
  return call<ListSitesResponse>(appWith().app, "listSites", request, tenant);
};

const meta = (id: string, tenant = "tenant-1", minutes = 0): ProjectedMeta => ({
  eventId: "e",
  time: new Date(start.getTime() + minutes * 60_000),
  tenant,
  id,
  position: 1,
  actor: "a",
  causationId: "",
  correlationId: "",
  family: "",
});
const see = (name: string, data: object, about: ProjectedMeta) =>
  pool.db.transaction((tx) => siteList.on[name]?.(data, about, tx) as Promise<unknown>);
const requested = (siteId: string, serverId = "server-1") => ({
  siteId,
  domain: `${siteId}.example.com`,
  serverId,
  kind: SiteKind.PHP,
  phpVersion: "",
  database: true,
  sslEnabled: true,
  jobId: `job-${siteId}`,
});

test("a site is read as its events tell it, to its own tenant only", async () => {
  const about = meta("one");
  await see("SiteRequested", requested("one"), about);
  expect((await get("one")).site).toMatchObject({ status: SiteStatus.CREATING, createdAt: start });
  const made = {
    ...requested("one"),
    phpVersion: "8.2",
    systemUser: "s-x",
    rootPath: "/srv/sites/s-x",
  };
  await see("SiteProvisioned", { ...made, databaseName: "s_x", serverAddresses: [] }, about);
  expect((await get("one")).site).toMatchObject({ status: SiteStatus.ACTIVE, phpVersion: "8.2" });
  await see("SiteRestoring", { siteId: "one", restoreId: "r1" }, about);
  expect((await get("one")).site?.status).toBe(SiteStatus.RESTORING);
  await see("SiteRestoreEnded", { siteId: "one", restoreId: "r1" }, about);
  expect((await get("one")).site?.status).toBe(SiteStatus.ACTIVE);
  await expect(get("one", "tenant-2")).rejects.toMatchObject({ kind: "not-found" });
  await expect(get("absent")).rejects.toMatchObject({ kind: "not-found" });
});

test("a failed site tells why, and no longer when it is tried again", async () => {
  const about = meta("failing");
  await see("SiteRequested", requested("failing"), about);
  const failure = { code: "port-conflict", message: "port 80 belongs to apache2" };
  await see("SiteProvisioningFailed", { ...requested("failing"), ...failure }, about);
  expect((await get("failing")).site).toMatchObject({
    status: SiteStatus.FAILED,
    failureCode: "port-conflict",
  });
  await see("SiteRequested", requested("failing"), about);
  expect((await get("failing")).site).toMatchObject({
    status: SiteStatus.CREATING,
    failureCode: "",
  });
});

test("a list goes page by page through a tenant's sites, and a token fits only its own list", async () => {
  for (const [n, id] of ["a", "b", "c", "d", "e"].entries()) {
    await see(
      "SiteRequested",
      requested(`page-${id}`, "server-9"),
      meta(`page-${id}`, "tenant-3", n),
    );
  }
  await see("SiteRequested", requested("foreign", "server-9"), meta("foreign", "tenant-4"));
  const seen: string[] = [];
  let pageToken = "";
  do {
    const page = await list({ serverId: "server-9", pageSize: 2, pageToken }, "tenant-3");
    seen.push(...page.sites.map(({ siteId }) => siteId));
    pageToken = page.nextPageToken;
  } while (pageToken);
  expect(seen).toEqual(["page-a", "page-b", "page-c", "page-d", "page-e"]);
  const { nextPageToken } = await list({ serverId: "server-9", pageSize: 2 }, "tenant-3");
  await expect(list({ pageSize: 2, pageToken: nextPageToken }, "tenant-3")).rejects.toMatchObject({
    kind: "invalid",
  });
  await expect(
    list({ serverId: "server-9", pageSize: 2, pageToken: nextPageToken }, "tenant-4"),
  ).rejects.toMatchObject({ kind: "invalid" });
});

test("a password is made once, whoever asks first, and is stored only sealed", async () => {
  const secrets = siteSecretsIn(appWith().app);
  const asked = Array.from({ length: 8 }, () => secrets.ensure("tenant-1", "one", "database"));
  const [first, ...others] = (await Promise.all(asked)).map((each) => each.reveal());
  expect(first).toMatch(/^[A-Za-z0-9]{32}$/);
  expect(new Set(others)).toEqual(new Set([first]));
  const rows = await pool.db.select().from(siteSecrets);
  expect(rows).toHaveLength(1);
  expect(rows[0]?.ciphertext.includes(Buffer.from(first ?? ""))).toBe(false);
  // Bound to tenant and site: a row that was copied opens for nobody else.
  for (const stolen of [{ tenant: "tenant-2" }, { siteId: "two" }, { name: "administrator" }]) {
    await pool.db.insert(siteSecrets).values({ ...rows[0], ...stolen } as never);
  }
  await expect(secrets.find("tenant-2", "one", "database")).rejects.toMatchObject({
    code: "seal-broken",
  });
  await expect(secrets.find("tenant-1", "two", "database")).rejects.toMatchObject({
    code: "seal-broken",
  });
});

test("an owner is shown the passwords of a site, another tenant is not told that it exists", async () => {
  const secrets = siteSecretsIn(appWith().app);
  const password = await secrets.ensure("tenant-5", "mine", "database");
  const { app } = appWith({ "tenant-5/mine": "active" });
  const reveal = (tenant: string) =>
    call<RevealSiteSecretsResponse>(app, "revealSiteSecrets", { siteId: "mine" }, tenant);
  expect(await reveal("tenant-5")).toEqual({
    databaseUser: namesOf("mine").databaseName,
    databasePassword: password.reveal(),
    adminUser: "",
    adminPassword: "",
  });
  await expect(reveal("tenant-6")).rejects.toMatchObject({ kind: "not-found" });
  await secrets.forget("tenant-5", "mine");
  expect(await secrets.find("tenant-5", "mine", "database")).toBeUndefined();
});

test("the sweep releases claims without a site and ends requests without a job, and nothing else", async () => {
  const claim = (name: string) => ({
    domain: `${name}.test`,
    ownerTenant: "tenant-7",
    siteId: name,
  });
  for (const name of ["cut-off", "in-use"]) {
    await pool.db.transaction(
      (tx) =>
        claimedDomains.on["DomainClaimed"]?.(
          claim(name),
          meta(name, "platform"),
          tx,
        ) as Promise<unknown>,
    );
  }
  await see("SiteRequested", requested("never-queued"), meta("never-queued", "tenant-7"));
  await see("SiteRequested", requested("queued"), meta("queued", "tenant-7"));
  await see("SiteRequested", requested("just-now"), meta("just-now", "tenant-7", 59));
  const { app, handled } = appWith({ "tenant-7/in-use": "creating" }, ["job-queued"]);
  await sweepCutRequests(app).run(signal);
  const ended = handled.filter(({ command }) => command === "giveUp").map(({ id }) => id);
  expect(ended).toContain("never-queued");
  expect(ended).not.toContain("queued");
  expect(ended).not.toContain("just-now");
  const released = handled.filter(({ command }) => command === "release");
  expect(released.map(({ input }) => input)).toEqual([expect.objectContaining(claim("cut-off"))]);
  await pool.db.transaction(
    (tx) =>
      claimedDomains.on["DomainReleased"]?.(
        claim("cut-off"),
        meta("cut-off"),
        tx,
      ) as Promise<unknown>,
  );
  expect((await pool.db.select().from(domains)).map(({ domain }) => domain)).toEqual([
    "in-use.test",
  ]);
});
