import { type ProvisionSiteRequest, SiteKind } from "@chom/proto/chom/provisioning/v1/provisioning";
import { classify } from "@chom/shared/failure/failure";
import { expect, test } from "vitest";
import { readSiteRequest } from "./site-request.ts";

const good: ProvisionSiteRequest = {
  requestId: "request-1",
  domain: "shop.example.com",
  serverId: "server-1",
  kind: SiteKind.PHP,
  phpVersion: "",
  database: false,
  sslEnabled: true,
  reason: "",
  adminEmail: "",
};
const violationsOf = (change: Partial<ProvisionSiteRequest>): readonly string[] => {
  try {
    readSiteRequest({ ...good, ...change }, "tenant-1");
    return [];
  } catch (error) {
    return classify(error).violations.map(({ field }) => field);
  }
};

test("the site's id comes from tenant and request", () => {
  const one = readSiteRequest(good, "tenant-1").input.siteId;
  expect(readSiteRequest(good, "tenant-1").input.siteId).toBe(one);
  expect(readSiteRequest(good, "tenant-2").input.siteId).not.toBe(one);
});

test("WordPress and Laravel always have a database", () => {
  const wordpress = { ...good, kind: SiteKind.WORDPRESS, adminEmail: "owner@example.com" };
  expect(readSiteRequest(wordpress, "tenant-1").input.database).toBe(true);
  expect(readSiteRequest({ ...good, kind: SiteKind.LARAVEL }, "t").input.database).toBe(true);
  expect(readSiteRequest(good, "tenant-1").input.database).toBe(false);
});

test.each<[Partial<ProvisionSiteRequest>, string]>([
  [{ requestId: "" }, "request_id"],
  [{ requestId: "../x" }, "request_id"],
  [{ domain: "shop.example.com;}" }, "domain"],
  [{ domain: "Shop.example.com" }, "domain"],
  [{ domain: "shop.example.com." }, "domain"],
  [{ domain: "*.example.com" }, "domain"],
  [{ domain: "192.0.2.1" }, "domain"],
  [{ domain: `${"a".repeat(64)}.com` }, "domain"],
  [{ domain: "раypal.com" }, "domain"],
  [{ serverId: "" }, "server_id"],
  [{ kind: SiteKind.UNSPECIFIED }, "kind"],
  [{ kind: "SITE_KIND_BOGUS" as SiteKind }, "kind"],
  [{ phpVersion: "8.2; id" }, "php_version"],
  [{ kind: SiteKind.STATIC, phpVersion: "8.2" }, "php_version"],
  [{ kind: SiteKind.STATIC, database: true }, "database"],
  [{ kind: SiteKind.WORDPRESS }, "admin_email"],
  [{ kind: SiteKind.WORDPRESS, adminEmail: "a@b'); --" }, "admin_email"],
  [{ adminEmail: "owner@example.com" }, "admin_email"],
  [{ reason: "line\nbreak" }, "reason"],
])("%j is refused", (change, field) => {
  expect(violationsOf(change)).toEqual([field]);
});

test("all bad fields are named at once", () => {
  expect(violationsOf({ requestId: "", domain: "x", kind: SiteKind.UNSPECIFIED })).toEqual([
    "request_id",
    "domain",
    "kind",
  ]);
});
