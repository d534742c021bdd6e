import { Readable } from "node:stream";
import { SiteKind } from "@chom/proto/chom/provisioning/v1/provisioning";
import { failureOf, rejected } from "@chom/shared/failure/failure";
import { Secret } from "@chom/shared/secrets/secret";
import { crashPoints } from "@chom/shared/testing/crash-points";
import { fakeRun } from "@chom/shared/testing/fake-run";
import { expect, test } from "vitest";
import type { ApplicationArchive } from "./application-archive.ts";
import { deprovisionSite } from "./deprovision-site.ts";
import { namesOf } from "./names.ts";
import { provisionSite } from "./provision-site.ts";
import type { ServerReport } from "./server-scripts.ts";
import type { SiteSecrets } from "./site-secrets.ts";

const report: ServerReport = {
  os: "debian 12",
  freeBytes: 10_000_000_000,
  freeInodes: 1_000_000,
  ipv6: false,
  phpVersions: ["8.2"],
  port80: "nginx",
  nginx: "ok",
  vhostConflict: "",
  database: "running",
  addresses: ["192.0.2.1"],
};
const answers = {
  "check-server.sh": report,
  "prepare-web-server.sh": { changed: true },
  "make-site-user.sh": { created: true },
  "make-database.sh": { created: true, socket: "/run/mysqld/mysqld.sock" },
  "make-php-pool.sh": { changed: true },
  "place-page.sh": { created: true },
  "receive-application.sh": { filesCount: 3 },
  "install-wordpress.sh": { created: true, version: "6" },
  "install-laravel.sh": { created: true },
  "apply-vhost.sh": { changed: true },
  "check-site.sh": { status: 200, database: "ok" },
  "remove-vhost.sh": { removed: true },
  "remove-php-pool.sh": { removed: true },
  "remove-database.sh": { removed: true },
  "remove-site-user.sh": { removed: true },
  "quarantine-files.sh": { moved: true, path: "/var/lib/chom/quarantine/x" },
  "check-site-gone.sh": undefined,
};
const archive: ApplicationArchive = {
  sha256: "0".repeat(64),
  ready: async () => ({ sizeBytes: 5, open: () => Readable.from([Buffer.from("bytes")]) }),
};
const password = "Password42";
const secrets: SiteSecrets = {
  ensure: async () => new Secret(password),
  find: async () => new Secret(password),
  forget: async () => {},
};
const deps = {
  claims: { hold: async () => true, release: async () => {} },
  secrets,
  archives: { wordpress: archive, laravel: archive },
  quarantineDays: 7,
};
const asked = (kind: SiteKind) => ({
  siteId: "site-1",
  domain: "shop.example.com",
  serverId: "server-1",
  kind,
  phpVersion: "",
  database: kind !== SiteKind.STATIC,
  sslEnabled: true,
  adminEmail: "",
});
const removal = {
  siteId: "site-1",
  domain: "shop.example.com",
  serverId: "server-1",
  kind: SiteKind.PHP,
  phpVersion: "8.2",
  databaseName: namesOf("site-1").databaseName,
};

test.each([SiteKind.STATIC, SiteKind.PHP, SiteKind.WORDPRESS, SiteKind.LARAVEL])(
  "a %s provisioning that dies after any step ends the same",
  async (kind) => {
    const points = await crashPoints(provisionSite(deps), { input: asked(kind), answers });
    expect(points).toBeGreaterThan(7);
  },
);

test("a removal that dies after any step ends the same", async () => {
  expect(await crashPoints(deprovisionSite(deps), { input: removal, answers })).toBe(7);
});

test("what was begun is taken back in reverse, even when it failed in the middle", async () => {
  const refused = failureOf("nginx-test-failed", "no");
  const run = fakeRun({ ...answers, "apply-vhost.sh": refused });
  await expect(provisionSite(deps).work(asked(SiteKind.PHP), run)).rejects.toBe(refused);
  const before = run.servers.calls.length;
  await run.undo();
  expect(run.servers.calls.slice(before).map(({ script }) => script)).toEqual([
    "remove-vhost.sh",
    "remove-php-pool.sh",
    "remove-database.sh",
    "quarantine-files.sh",
    "remove-site-user.sh",
  ]);
});

test("nothing is made on a server that is not fit, and nothing is taken back", async () => {
  const run = fakeRun({ ...answers, "check-server.sh": { ...report, port80: "apache2" } });
  const work = provisionSite(deps).work(asked(SiteKind.PHP), run);
  await expect(work).rejects.toMatchObject({ code: "port-conflict" });
  expect(run.servers.calls.map(({ script }) => script)).toEqual(["check-server.sh"]);
  expect(await run.undo()).toEqual([]);
});

test("a domain that another site took meanwhile ends the job at once, before the server is touched", async () => {
  const hold = async () => {
    throw rejected("name-taken", "shop.example.com belongs to another site");
  };
  const run = fakeRun(answers);
  const work = provisionSite({ ...deps, claims: { ...deps.claims, hold } }).work(
    asked(SiteKind.PHP),
    run,
  );
  await expect(work).rejects.toMatchObject({ code: "name-taken", kind: "permanent" });
  expect(run.servers.calls).toEqual([]);
});

test("passwords travel only as secrets", async () => {
  const run = fakeRun(answers);
  await provisionSite(deps).work(asked(SiteKind.WORDPRESS), run);
  const inputs = run.servers.calls.map(({ input }) => JSON.stringify(input));
  expect(inputs.filter((input) => input.includes(password))).toEqual([]);
  expect(inputs.some((input) => input.includes("[secret]"))).toBe(true);
});

test("a retry keeps the PHP version that the first attempt chose", async () => {
  const memory = new Map();
  const failing = { ...answers, "check-site.sh": failureOf("http-check-failed", "no") };
  const first = fakeRun(failing, { memory });
  await expect(provisionSite(deps).work(asked(SiteKind.PHP), first)).rejects.toThrow("no");
  const upgraded = { ...answers, "check-server.sh": { ...report, phpVersions: ["8.2", "8.4"] } };
  const second = fakeRun(upgraded, { memory, attempt: 2 });
  const result = await provisionSite(deps).work(asked(SiteKind.PHP), second);
  expect(result).toMatchObject({ phpVersion: "8.2" });
});
