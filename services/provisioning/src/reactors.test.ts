import type { EventMeta } from "@chom/shared/aggregate/aggregate";
import { expect, test } from "vitest";
import { domainId } from "./domain.ts";
import { followRestores, releaseDomains } from "./reactors.ts";

const meta: EventMeta = {
  eventId: "event-1",
  time: new Date(0),
  tenant: "tenant-1",
  id: "site-1",
  position: 1,
  actor: "a",
  causationId: "",
  correlationId: "",
};
const restore = { siteId: "site-1", restoreId: "restore-1" };

test("the start and every end of a restore reach the site", () => {
  const commands = Object.entries(followRestores.on).map(([name, react]) => {
    const { tenant, id, command } = react(restore, meta) as {
      tenant: string;
      id: string;
      command: string;
    };
    return [name, tenant, id, command];
  });
  expect(commands).toEqual([
    ["RestoreStarted", "tenant-1", "site-1", "restoreBegan"],
    ["RestoreCompleted", "tenant-1", "site-1", "restoreEnded"],
    ["RestoreRolledBack", "tenant-1", "site-1", "restoreEnded"],
    ["RestoreFailed", "tenant-1", "site-1", "restoreEnded"],
  ]);
});

test("a failed or removed site lets go of its domain, as its owner", () => {
  const data = { domain: "shop.example.com", siteId: "site-1" };
  for (const name of ["SiteProvisioningFailed", "SiteDeprovisioned"]) {
    expect(releaseDomains.on[name]?.(data, meta)).toMatchObject({
      tenant: "platform",
      id: domainId("shop.example.com"),
      command: "release",
      input: { ...data, ownerTenant: "tenant-1" },
    });
  }
});
