import { given } from "@chom/shared/aggregate/given";
import { expect, test } from "vitest";
import { domain, domainEvents, domainId } from "./domain.ts";

const { DomainClaimed, DomainReleased } = domainEvents;
const mine = { domain: "shop.example.com", ownerTenant: "tenant-1", siteId: "site-1" };

test("a free domain is claimed, and claiming it again for the same site is nothing new", () => {
  expect(given(domain).when("claim", mine)).toEqual([{ name: "DomainClaimed", data: mine }]);
  expect(given(domain, DomainClaimed(mine)).when("claim", mine)).toEqual([]);
});

test.each([
  ["another tenant", { ...mine, ownerTenant: "tenant-2" }],
  ["another site of the same tenant", { ...mine, siteId: "site-2" }],
])("case 72: a claimed domain is refused to %s, without saying whose it is", (_, other) => {
  const claimed = given(domain, DomainClaimed(mine));
  expect(() => claimed.when("claim", other)).toThrow("belongs to another site");
  try {
    claimed.when("claim", other);
  } catch (error) {
    expect(error).toMatchObject({ code: "name-taken" });
    expect(String(error)).not.toContain("tenant-1");
  }
});

test("only its owner releases a domain, and then anyone may claim it", () => {
  const claimed = given(domain, DomainClaimed(mine));
  expect(claimed.when("release", { ...mine, siteId: "site-2" })).toEqual([]);
  expect(claimed.when("release", mine)).toHaveLength(1);
  const free = given(domain, DomainClaimed(mine), DomainReleased(mine));
  expect(free.when("release", mine)).toEqual([]);
  expect(free.when("claim", { ...mine, ownerTenant: "tenant-2" })).toHaveLength(1);
});

test("names that differ by a dash or a dot only are different domains", () => {
  expect(domainId("my-shop.example.com")).not.toBe(domainId("my.shop.example.com"));
});
