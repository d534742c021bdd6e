import { once } from "node:events";
import { type IncomingMessage, request } from "node:http";
import { text } from "node:stream/consumers";
import { SiteKind } from "@chom/proto/chom/provisioning/v1/provisioning";
import { Secret } from "@chom/shared/secrets/secret";
import { vpsSupport } from "@chom/stack/vps";
import { scratchFolder } from "@chom/stack/scratch-folder";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type ApplicationArchive, configuredArchive } from "./application-archive.ts";
import { deprovisionSite } from "./deprovision-site.ts";
import { namesOf } from "./names.ts";
import { provisionSite } from "./provision-site.ts";
import { type RealServer, startRealServer } from "./testing/real-server.ts";
import { checkSiteGone, quarantineFiles } from "./removal-scripts.ts";
import { applyVhost, checkServer, makeDatabase, makePhpPool } from "./server-scripts.ts";
import {
  escapingArchive,
  laravelArchive,
  linkingArchive,
  wordpressArchive,
} from "./testing/site-archives.ts";
import type { SiteSecrets } from "./site-secrets.ts";
import { renderVhost } from "./vhost.ts";

const support = await vpsSupport();
if (!support.ok) console.warn(`tests on a real server are skipped: ${support.reason}`);

const scratch = scratchFolder("provisioning");
const folder = scratch.path;
afterAll(() => scratch.remove());

const passwords = (): SiteSecrets => {
  const known = new Map<string, Secret>();
  return {
    async ensure(_, siteId, name) {
      const key = `${siteId} ${name}`;
      const found = known.get(key) ?? new Secret(`Pw${known.size}${"x".repeat(20)}`);
      known.set(key, found);
      return found;
    },
    find: async (_, siteId, name) => known.get(`${siteId} ${name}`),
    forget: async () => known.clear(),
  };
};

function jobs(archives: { wordpress?: ApplicationArchive; laravel?: ApplicationArchive } = {}) {
  const secrets = passwords();
  const claims = { hold: async () => true, release: async () => {} };
  return {
    secrets,
    provision: provisionSite({
      claims,
      secrets,
      archives: { wordpress: archives.wordpress, laravel: archives.laravel },
      quarantineDays: 7,
    }),
    deprovision: deprovisionSite({ secrets, quarantineDays: 7 }),
  };
}

const asked = (
  siteId: string,
  kind: SiteKind,
  more: { database?: boolean; domain?: string } = {},
) => ({
  siteId,
  domain: more.domain ?? `${siteId}.example.com`,
  serverId: "server-1",
  kind,
  phpVersion: "",
  database: more.database ?? false,
  sslEnabled: false,
  adminEmail: kind === SiteKind.WORDPRESS ? "owner@example.com" : "",
});
const removal = (siteId: string, databaseName: string) => ({
  siteId,
  domain: `${siteId}.example.com`,
  serverId: "server-1",
  kind: SiteKind.PHP,
  phpVersion: "8.2",
  databaseName,
});

describe.skipIf(!support.ok)("on a real server", () => {
  let server: RealServer;
  beforeAll(async () => {
    server = await startRealServer();
  }, 240_000);
  afterAll(() => server?.stop());

  /** As a visitor from outside. */
  const visit = async (domain: string, path = "/"): Promise<{ status: number; body: string }> => {
    const headers = { host: domain };
    const sent = request({ host: server.vps.address, port: 80, path, headers }).end();
    const [answer] = (await once(sent, "response")) as [IncomingMessage];
    return { status: answer.statusCode ?? 0, body: await text(answer) };
  };

  /** Everything of a site on the server: paths, owners, modes, links, and what configuration holds. */
  const stateOf = (siteId: string) => {
    const { systemUser, rootPath } = namesOf(siteId);
    return server.look(
      "sh",
      "-c",
      `find "$1" -printf '%P %M %u:%g %l\\n' | grep -v 'releases/' | sort
       for f in /etc/nginx/sites-enabled/$2.conf /etc/php/*/fpm/pool.d/$2.conf /etc/chom/sites/$2/db.cnf \
         /etc/cron.d/chom-$2 /etc/nginx/conf.d/chom-default.conf "$1"/shared/.env "$1"/shared/wp-salts.php \
         "$1"/public/wp-config.php; do
         [ ! -e $f ] || stat -c '%n %A %U:%G' $f && sha256sum $f 2>/dev/null || :
       done
       id $2; mariadb -e "SHOW GRANTS FOR '$3'@localhost" 2>/dev/null || :`,
      "sh",
      rootPath,
      systemUser,
      namesOf(siteId).databaseName,
    );
  };

  test("a static site is served, and making it twice ends the same", async () => {
    const { provision } = jobs();
    const made = await server.work(provision, asked("plain", SiteKind.STATIC));
    expect(made).toMatchObject({ phpVersion: "", databaseName: "" });
    expect(made.serverAddresses).toContain(server.vps.address);
    expect(await visit("plain.example.com")).toMatchObject({ status: 200 });
    const before = await stateOf("plain");
    await server.work(provision, asked("plain", SiteKind.STATIC));
    expect(await stateOf("plain")).toBe(before);
    expect((await visit("unknown.example.com")).status).toBe(404);
  });

  test("a PHP site reads its own database over HTTP, and making it twice ends the same", async () => {
    const { provision } = jobs();
    const input = asked("shop", SiteKind.PHP, { database: true });
    const { systemUser, rootPath, databaseName, phpVersion } = await server.work(provision, input);
    expect({ phpVersion, databaseName }).toEqual({
      phpVersion: "8.2",
      databaseName: namesOf("shop").databaseName,
    });
    await server.look(
      "mariadb",
      databaseName,
      "-e",
      "CREATE TABLE t SELECT 'from the database' AS a",
    );
    const page = `<?php $l = new mysqli("localhost", getenv("DB_USER"), getenv("DB_PASSWORD"), getenv("DB_NAME"), 0, getenv("DB_SOCKET"));
      echo $l->query("SELECT a FROM t")->fetch_row()[0];`;
    await server.vps.exec(
      ["runuser", "-u", systemUser, "--", "sh", "-c", `cat >${rootPath}/public/t.php`],
      {
        input: page,
      },
    );
    expect(await visit("shop.example.com", "/t.php")).toEqual({
      status: 200,
      body: "from the database",
    });
    const before = await stateOf("shop");
    await server.work(provision, input);
    expect(await stateOf("shop")).toBe(before);
    expect(await visit("shop.example.com", "/t.php")).toMatchObject({ body: "from the database" });
  });

  test("a password that drifted on the server is set to what the record says", async () => {
    const { systemUser, rootPath, databaseName } = namesOf("shop");
    await server.look(
      "mariadb",
      "-e",
      `ALTER USER '${databaseName}'@localhost IDENTIFIED BY 'drifted'`,
    );
    const password = new Secret("NewPassword123");
    await server.run(makeDatabase, { systemUser, rootPath, databaseName, password });
    const cnf = `--defaults-file=/etc/chom/sites/${systemUser}/db.cnf`;
    expect(await server.look("mariadb", cnf, databaseName, "-Ne", "SELECT a FROM t")).toBe(
      "from the database\n",
    );
    // The pool still has the old one: the job's own order sets both.
    await server.work(jobs().provision, asked("shop", SiteKind.PHP, { database: true }));
    expect((await visit("shop.example.com", "/t.php")).status).toBe(200);
  });

  test("one site cannot read another, neither as its user nor through nginx", async () => {
    const [shop, plain] = [namesOf("shop"), namesOf("plain")];
    const direct = await server.vps.exec([
      "runuser",
      "-u",
      shop.systemUser,
      "--",
      "cat",
      `${plain.rootPath}/public/index.html`,
    ]);
    expect(direct.code).not.toBe(0);
    await server.look(
      "runuser",
      "-u",
      shop.systemUser,
      "--",
      "ln",
      "-s",
      `${plain.rootPath}/public/index.html`,
      `${shop.rootPath}/public/stolen.html`,
    );
    // Nginx finds no such file and falls back to the site's own front page.
    expect((await visit("shop.example.com", "/stolen.html")).body).toContain(
      "<h1>shop.example.com",
    );
    await server.look("rm", `${shop.rootPath}/public/stolen.html`);
    expect((await visit("shop.example.com", "/.env")).status).toBe(403);
  });

  test("a vhost that nginx refuses leaves every site as it was", async () => {
    const { systemUser, rootPath } = namesOf("shop");
    const before = await stateOf("shop");
    const good = renderVhost({
      systemUser,
      rootPath,
      domain: "shop.example.com",
      kind: SiteKind.PHP,
      ipv6: false,
    });
    const vhost = good.replace("index index.php", "no_such_directive on;\n    index index.php");
    await expect(server.run(applyVhost, { systemUser, vhost })).rejects.toMatchObject({
      code: "nginx-test-failed",
      kind: "permanent",
    });
    expect(await stateOf("shop")).toBe(before);
    await server.look("nginx", "-t");
    expect((await visit("plain.example.com")).status).toBe(200);
    expect((await visit("shop.example.com", "/t.php")).status).toBe(200);
  });

  test("a pool that PHP refuses leaves the old one working", async () => {
    const { systemUser } = namesOf("shop");
    const pool = new Secret(`[${systemUser}]\nuser = nobody-here\n`);
    const before = await stateOf("shop");
    const refused = server.run(makePhpPool, { systemUser, phpVersion: "8.2", pool });
    await expect(refused).rejects.toMatchObject({ code: "fpm-test-failed" });
    expect(await stateOf("shop")).toBe(before);
    expect((await visit("shop.example.com", "/t.php")).status).toBe(200);
  });

  test("the maintenance file closes a site but not its ACME challenges", async () => {
    const { systemUser } = namesOf("plain");
    await server.look("touch", `/var/lib/chom/maintenance/${systemUser}`);
    await server.look("sh", "-c", "echo token >/var/lib/chom/acme/.well-known/acme-challenge/t1");
    expect((await visit("plain.example.com")).status).toBe(503);
    const challenge = await visit("plain.example.com", "/.well-known/acme-challenge/t1");
    expect(challenge).toEqual({ status: 200, body: "token\n" });
    const unknown = await visit("unknown.example.com", "/.well-known/acme-challenge/t1");
    expect(unknown.body).toBe("token\n");
    await server.look("rm", `/var/lib/chom/maintenance/${systemUser}`);
    expect((await visit("plain.example.com")).status).toBe(200);
  });

  test("a domain of 253 characters is served", async () => {
    const domain = `${"a".repeat(61)}.${"b".repeat(61)}.${"c".repeat(61)}.${"d".repeat(61)}.${"e".repeat(1)}.com`;
    expect(domain.length).toBeLessThanOrEqual(253);
    await server.work(jobs().provision, asked("long", SiteKind.STATIC, { domain }));
    expect((await visit(domain)).status).toBe(200);
  });

  test("a domain that another file serves already is refused before anything is made", async () => {
    const work = server.work(
      jobs().provision,
      asked("second", SiteKind.STATIC, { domain: "plain.example.com" }),
    );
    await expect(work).rejects.toMatchObject({ code: "vhost-conflict", kind: "permanent" });
    await server.run(checkSiteGone, { ...namesOf("second"), databaseName: "" });
  });

  test("WordPress is installed with the recorded password, and installing twice keeps it", async () => {
    const wordpress = wordpressArchive(folder);
    const { provision, secrets } = jobs({ wordpress });
    const input = asked("blog", SiteKind.WORDPRESS);
    await server.work(provision, input);
    const shown = "blog blog.example.com http://blog.example.com edit=no";
    expect(await visit("blog.example.com")).toEqual({ status: 200, body: shown });
    for (const path of ["/wp-config.php", "/wp-content/uploads/shell.php"]) {
      expect((await visit("blog.example.com", path)).status).toBe(403);
    }
    const before = await stateOf("blog");
    expect(before).toContain("wp-config.php -rw-------");
    await server.work(provision, input);
    expect(await stateOf("blog")).toBe(before);
    const { databaseName, systemUser } = namesOf("blog");
    expect(await server.look("cat", `/etc/cron.d/chom-${systemUser}`)).toContain("wp-cron.php");
    const hash = await server.look("mariadb", databaseName, "-Ne", "SELECT pass FROM wp_users");
    const password = (await secrets.ensure("tenant-1", "blog", "administrator")).reveal();
    const matches = `echo password_verify('${password}', '${hash.trim()}') ? 'same' : 'other';`;
    expect(await server.look("php", "-r", matches)).toBe("same");
  });

  // The archive of wordpress.org, or one made from a distribution's package: tar.gz with a folder `wordpress`.
  const { TEST_WORDPRESS_ARCHIVE: location, TEST_WORDPRESS_ARCHIVE_SHA256: sha256 } = process.env;
  const real = configuredArchive(location, sha256, "TEST_WORDPRESS_ARCHIVE");
  if (!real) console.warn("real WordPress is not tested: TEST_WORDPRESS_ARCHIVE is not set");
  test.skipIf(!real)(
    "real WordPress is installed, logs its administrator in, and is installed once",
    async () => {
      const { provision, secrets } = jobs(real ? { wordpress: real } : {});
      const input = asked("realblog", SiteKind.WORDPRESS);
      await server.work(provision, input);
      const front = await visit("realblog.example.com");
      expect(front.status).toBe(200);
      expect(front.body).toContain("realblog.example.com");
      const before = await stateOf("realblog");
      await server.work(provision, input);
      expect(await stateOf("realblog")).toBe(before);
      const password = (await secrets.ensure("tenant-1", "realblog", "administrator")).reveal();
      const login = await server.look(
        "sh",
        "-c",
        `curl -s -o /dev/null -w '%{http_code} %{redirect_url}' -H 'Host: realblog.example.com' \
        -b 'wordpress_test_cookie=WP%20Cookie%20check' --data-urlencode "log=admin" --data-urlencode "pwd=$1" \
        --data "testcookie=1" http://127.0.0.1/wp-login.php`,
        "sh",
        password,
      );
      expect(login).toBe("302 http://realblog.example.com/wp-admin/");
    },
  );

  test("Laravel runs from a release with shared environment and storage, its key made once", async () => {
    const { provision } = jobs({ laravel: laravelArchive(folder) });
    const input = asked("app", SiteKind.LARAVEL);
    const { rootPath } = await server.work(provision, input);
    expect(await visit("app.example.com")).toEqual({
      status: 200,
      body: "laravel production 32 42",
    });
    expect((await visit("app.example.com", "/storage/stored.txt")).body).toBe("stored");
    const key = await server.look("grep", "APP_KEY", `${rootPath}/shared/.env`);
    expect(await server.look("readlink", `${rootPath}/current`)).toMatch(
      /^releases\/[a-z0-9]{16}\n$/,
    );
    await server.work(provision, input);
    expect(await server.look("grep", "APP_KEY", `${rootPath}/shared/.env`)).toBe(key);
    expect((await visit("app.example.com")).status).toBe(200);
  });

  test.each([
    ["a name that leads out of it", escapingArchive],
    ["a link that leads out of it", linkingArchive],
  ])("an archive with %s is refused and everything is taken back", async (_, archive) => {
    const { provision } = jobs({ laravel: archive(folder) });
    const work = server.work(provision, asked("trap", SiteKind.LARAVEL));
    await expect(work).rejects.toMatchObject({ code: "archive-unsafe", kind: "permanent" });
    await server.run(checkSiteGone, namesOf("trap"));
    expect((await server.vps.exec(["test", "-e", "/srv/evil"])).code).not.toBe(0);
    expect((await server.vps.exec(["test", "-e", "/srv/sites/evil"])).code).not.toBe(0);
    expect((await visit("plain.example.com")).status).toBe(200);
  });

  test("a site whose front page fails is taken back, with its files in quarantine", async () => {
    const laravel = laravelArchive(folder, {
      "public/index.php": "<?php http_response_code(500);",
    });
    const work = server.work(jobs({ laravel }).provision, asked("broken", SiteKind.LARAVEL));
    await expect(work).rejects.toMatchObject({ code: "http-check-failed" });
    await server.run(checkSiteGone, namesOf("broken"));
    const kept = await server.look("ls", "/var/lib/chom/quarantine");
    expect(kept).toContain(namesOf("broken").systemUser);
    expect((await visit("shop.example.com", "/t.php")).status).toBe(200);
  });

  test("what the preflight sees of the server is true", async () => {
    const report = await server.run(checkServer, {
      systemUser: "s-none",
      domain: "free.example.com",
    });
    expect(report).toMatchObject({
      os: "debian 12",
      phpVersions: ["8.2"],
      port80: "nginx",
      nginx: "ok",
      vhostConflict: "",
      database: "running",
    });
    expect(report.freeBytes).toBeGreaterThan(0);
  });

  test("a removed site leaves nothing but its quarantine, and removing twice ends the same", async () => {
    const { deprovision } = jobs();
    const names = namesOf("shop");
    await server.work(deprovision, removal("shop", names.databaseName));
    await server.run(checkSiteGone, names);
    expect((await visit("shop.example.com", "/t.php")).status).toBe(404);
    expect((await visit("plain.example.com")).status).toBe(200);
    const kept = await server.look(
      "sh",
      "-c",
      `cd /var/lib/chom/quarantine/${names.systemUser}.* && ls files/public/t.php && zcat database.sql.gz`,
    );
    expect(kept).toContain("from the database");
    await server.work(deprovision, removal("shop", names.databaseName));
    await server.run(checkSiteGone, names);
  });

  test("a path outside of the sites' folder is refused", async () => {
    const names = { ...namesOf("plain"), rootPath: "/etc", databaseName: "" };
    const moved = server.run(quarantineFiles, { ...names, run: "x", keepDays: 7 });
    await expect(moved).rejects.toMatchObject({ code: "invalid-config" });
    await server.look("test", "-f", "/etc/passwd");
  });
});
