import { SiteKind } from "@chom/proto/chom/provisioning/v1/provisioning";
import { Secret } from "@chom/shared/secrets/secret";
import { expect, test } from "vitest";
import { renderPool } from "./php-pool.ts";
import { renderVhost } from "./vhost.ts";

const site = {
  domain: "shop.example.com",
  systemUser: "s-abcdefghjkmn",
  rootPath: "/srv/sites/s-abcdefghjkmn",
  kind: SiteKind.PHP,
  ipv6: true,
};

test("a vhost has what other jobs rely on: the include line, the ACME location, the maintenance file", () => {
  const text = renderVhost(site);
  expect(text).toContain("include /etc/nginx/chom/s-abcdefghjkmn/*.conf;");
  expect(text).toContain("root /var/lib/chom/acme;");
  expect(text).toContain("-f /var/lib/chom/maintenance/s-abcdefghjkmn");
  expect(text.match(/^server \{/gm)).toHaveLength(1);
  expect(text).not.toContain("443");
});

test("only PHP kinds run PHP, and Laravel's root is inside its release", () => {
  expect(renderVhost({ ...site, kind: SiteKind.STATIC })).not.toContain("fastcgi");
  expect(renderVhost({ ...site, kind: SiteKind.LARAVEL })).toContain(
    "root /srv/sites/s-abcdefghjkmn/current/public;",
  );
  expect(renderVhost({ ...site, ipv6: false })).not.toContain("[::]");
});

test.each([
  ["shop.example.com; include /etc/passwd", site.systemUser, site.rootPath],
  ["shop.example.com\n}", site.systemUser, site.rootPath],
  ["$host.example.com", site.systemUser, site.rootPath],
  [site.domain, "s-abc; }", "/srv/sites/s-abc; }"],
  [site.domain, site.systemUser, "/etc"],
])(
  "case 06: a value that could end its line is refused: %j %j %j",
  (domain, systemUser, rootPath) => {
    const render = () => renderVhost({ ...site, domain, systemUser, rootPath });
    expect(render).toThrow(expect.objectContaining({ code: "invalid-config" }));
  },
);

test("case 03, 06: a pool is secret, holds the database's access and refuses a password that could end its line", () => {
  const database = {
    name: "s_abcdefghjkmn",
    socket: "/run/mysqld/mysqld.sock",
    password: new Secret("Pw1"),
  };
  const pool = renderPool({ ...site, database });
  expect(String(pool)).toBe("[secret]");
  expect(pool.reveal()).toContain('env[DB_PASSWORD] = "Pw1"');
  expect(pool.reveal()).not.toContain("cookie_secure");
  expect(renderPool({ ...site, database: undefined }).reveal()).not.toContain("DB_");
  const bad = { ...database, password: new Secret('x"\nuser = root') };
  expect(() => renderPool({ ...site, database: bad })).toThrow("odd characters");
});
