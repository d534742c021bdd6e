import { SiteKind } from "@chom/proto/chom/provisioning/v1/provisioning";
import { expect, test } from "vitest";
import { deprovisionSite } from "./deprovision-site.ts";
import { provisionSite } from "./provision-site.ts";

test("a provisioning has 3 tries 60 s apart, on the queue default, and at least 90 s", () => {
  const made = provisionSite({} as never);
  expect(made).toMatchObject({ queue: "default", tries: 3, backoffMs: [60_000] });
  for (const kind of [SiteKind.STATIC, SiteKind.WORDPRESS]) {
    const ms =
      typeof made.timeoutMs === "number" ? made.timeoutMs : made.timeoutMs({ kind } as never);
    expect(ms).toBeGreaterThanOrEqual(90_000);
  }
});

test("new sites are charged to their server's limit, and both jobs wait for a server that fails", () => {
  const input = { serverId: "server-1" } as never;
  const made = provisionSite({} as never);
  expect(made.rateLimit?.(input)).toEqual({ name: "provisioning", key: "server-1" });
  expect(made.circuit?.(input)).toBe("server-1");
  expect(deprovisionSite({} as never).circuit?.(input)).toBe("server-1");
});
