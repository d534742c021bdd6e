/** Every kind of site on a real server: provisioned, served, backed up, wiped, restored, removed. */
import { BackupKind } from "@chom/proto/chom/backup/v1/backup";
import { SiteKind } from "@chom/proto/chom/provisioning/v1/provisioning";
import type { SitePlace } from "@chom/stack/demo/site-content";
import { type Vps, vpsSupport } from "@chom/stack/vps";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { makeArchives } from "./archives.ts";
import { jobTimeoutMs, newId, startWorld, type World } from "./world.ts";

const support = await vpsSupport();
if (!support.ok) console.log(`skipped: kinds of sites on a real server: ${support.reason}`);

describe.skipIf(!support.ok)("sites on a real server", () => {
  let world: World;
  let vps: Vps;
  let serverId: string;
  let archives: Awaited<ReturnType<typeof makeArchives>>;
  beforeAll(async () => {
    archives = await makeArchives();
    world = await startWorld({ settings: { provisioning: archives.settings } });
    ({ vps, serverId } = await world.addServer());
  });
  afterAll(async () => {
    await world?.stop();
    archives?.remove();
  });

  const cases = [
    { kind: SiteKind.STATIC, name: "static", database: false },
    { kind: SiteKind.PHP, name: "php", database: true },
    { kind: SiteKind.LARAVEL, name: "laravel", database: true },
    { kind: SiteKind.WORDPRESS, name: "wordpress", database: true },
  ] as const;

  const fetchInside = async (domain: string): Promise<string> => {
    const { stdout } = await vps.exec([
      "curl",
      "-sS",
      "-i",
      "-H",
      `Host: ${domain}`,
      "http://127.0.0.1/",
    ]);
    return stdout;
  };

  for (const { kind, name, database } of cases) {
    test(`a ${name} site is provisioned, backed up, wiped, restored to the byte, and removed`, async () => {
      const domain = `${name}.chom.test`;
      const { siteId } = await world.clients.provisioning.provisionSite({
        requestId: newId("provision"),
        domain,
        serverId,
        kind,
        phpVersion: "",
        database,
        sslEnabled: false,
        reason: "",
        adminEmail: kind === SiteKind.WORDPRESS ? "owner@example.com" : "",
      });
      const site = await world.feed.until(
        "SiteProvisioned",
        jobTimeoutMs,
        (data) => data["siteId"] === siteId,
      );
      expect(await fetchInside(domain)).toMatch(/^HTTP\/1.1 200/);

      const place: SitePlace = {
        rootPath: String(site["rootPath"]),
        systemUser: String(site["systemUser"]),
        databaseName: String(site["databaseName"] ?? ""),
      };
      const look = async () => {
        const files = await vps.exec([
          "sh",
          "-c",
          'cd "$1" && find . \\( -path ./tmp -o -path ./sessions -o -path ./logs \\) -prune -o -printf "%y %m %u %p %l\\n" | sort; find . -path ./tmp -prune -o -path ./sessions -prune -o -path ./logs -prune -o -type f -print0 | sort -z | xargs -0r sha256sum',
          "sh",
          place.rootPath,
        ]);
        const rows = place.databaseName
          ? (
              await vps.exec([
                "mariadb-dump",
                "--skip-comments",
                "--skip-dump-date",
                place.databaseName,
              ])
            ).stdout
          : "";
        return `${files.stdout}\n${rows}`;
      };
      const before = await look();
      const { backupId } = await world.clients.backup.createBackup({
        requestId: newId("backup"),
        siteId,
        kind: BackupKind.FULL,
        retentionDays: 0,
        reason: "",
      });
      await world.feed.until(
        "BackupCompleted",
        jobTimeoutMs,
        (data) => data["backupId"] === backupId,
      );
      await vps.exec([
        "sh",
        "-c",
        'find "$1/public" "$1/shared" "$1/releases" -mindepth 1 -delete',
        "sh",
        place.rootPath,
      ]);
      if (place.databaseName) {
        await vps.exec(["mariadb", place.databaseName, "-e", "CREATE TABLE intruder (id INT)"]);
      }
      expect(await look()).not.toBe(before);

      const { restoreId } = await world.clients.backup.restoreBackup({
        requestId: newId("restore"),
        siteId,
        backupId,
        acceptNoSafety: false,
        reason: "",
      });
      await world.feed.until(
        "RestoreCompleted",
        jobTimeoutMs,
        (data) => data["restoreId"] === restoreId,
      );
      expect(await look()).toBe(before);
      expect(await fetchInside(domain)).toMatch(/^HTTP\/1.1 200/);

      await world.clients.provisioning.deprovisionSite({
        requestId: newId("remove"),
        siteId,
        reason: "",
      });
      await world.feed.until(
        "SiteDeprovisioned",
        jobTimeoutMs,
        (data) => data["siteId"] === siteId,
      );
      expect(await fetchInside(domain)).toMatch(/^HTTP\/1.1 404/);
      expect((await vps.exec(["id", place.systemUser])).code).not.toBe(0);
    });
  }

  test("case 50: the same request id twice is one job and one site", async () => {
    const request = {
      requestId: newId("twice"),
      domain: "twice.chom.test",
      serverId,
      kind: SiteKind.STATIC,
      phpVersion: "",
      database: false,
      sslEnabled: false,
      reason: "",
      adminEmail: "",
    };
    const [first, second] = await Promise.all([
      world.clients.provisioning.provisionSite(request),
      world.clients.provisioning.provisionSite(request),
    ]);
    expect(second).toEqual(first);
    await world.feed.until(
      "SiteProvisioned",
      jobTimeoutMs,
      (data) => data["siteId"] === first.siteId,
    );
    await expect(
      world.clients.provisioning.provisionSite({ ...request, domain: "other.chom.test" }),
    ).rejects.toMatchObject({ code: "already-exists" });
  });
});
