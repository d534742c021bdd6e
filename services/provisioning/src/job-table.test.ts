import { SiteKind } from "@chom/proto/chom/provisioning/v1/provisioning";
import { expect, test } from "vitest";
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
