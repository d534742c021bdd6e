import { SiteKind } from "@chom/proto/chom/provisioning/v1/provisioning";
import { expect, test } from "vitest";
import { planSite } from "./preflight.ts";
import type { ServerReport } from "./server-scripts.ts";

const report: ServerReport = {
  os: "debian 12",
  freeBytes: 10_000_000_000,
  freeInodes: 1_000_000,
  ipv6: true,
  phpVersions: ["7.4", "8.2", "8.10"],
  port80: "nginx",
  nginx: "ok",
  vhostConflict: "",
  database: "running",
  addresses: ["192.0.2.1"],
};
const wanted = { domain: "shop.example.com", kind: SiteKind.PHP, phpVersion: "", database: true };

test("the newest PHP version is taken when none is asked for, and none for a static site", () => {
  expect(planSite(report, wanted)).toEqual({ phpVersion: "8.10", ipv6: true });
  expect(planSite(report, { ...wanted, phpVersion: "7.4" }).phpVersion).toBe("7.4");
  expect(planSite(report, { ...wanted, kind: SiteKind.STATIC }).phpVersion).toBe("");
});

test.each<[string, Partial<ServerReport>, Partial<typeof wanted>, string, string]>([
  ["a port of another program", { port80: "apache2" }, {}, "port-conflict", "permanent"],
  ["a name in another vhost", { vhostConflict: "/etc/nginx/x" }, {}, "vhost-conflict", "permanent"],
  ["a PHP version that is absent", {}, { phpVersion: "8.4" }, "invalid-config", "permanent"],
  ["a server without PHP", { phpVersions: [] }, {}, "invalid-config", "permanent"],
  ["another system", { os: "alpine 3.20" }, {}, "unsupported-type", "permanent"],
  ["a broken nginx", { nginx: "broken" }, {}, "nginx-foreign-config", "operator"],
  ["no nginx", { nginx: "absent", port80: "free" }, {}, "tool-missing", "operator"],
  ["no MariaDB", { database: "absent" }, {}, "tool-missing", "operator"],
  ["a stopped MariaDB", { database: "down" }, {}, "service-down", "transient"],
  ["a full disk", { freeBytes: 1000 }, {}, "disk-full", "operator"],
  ["no inodes", { freeInodes: 3 }, {}, "inodes-full", "operator"],
])("%s is refused", (...[, server, site, code, kind]) => {
  const plan = () => planSite({ ...report, ...server }, { ...wanted, ...site });
  expect(plan).toThrow(expect.objectContaining({ code, kind }));
});

test("a stopped database does not matter to a site without one", () => {
  expect(planSite({ ...report, database: "down" }, { ...wanted, database: false }).ipv6).toBe(true);
});
