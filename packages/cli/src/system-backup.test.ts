import { expect, test } from "vitest";
import { copyOrder } from "./system-backup.ts";

test("what may lack the end of another is copied before it, the audit after the database, and the queue not at all", () => {
  const names = [
    "AUDIT",
    "JOBS",
    "JOURNAL",
    "KV_api-tokens",
    "EVENTS",
    "KV_snapshots",
    "KV_leases",
  ];
  expect(copyOrder(names)).toEqual({
    before: ["KV_snapshots", "EVENTS", "JOURNAL", "KV_api-tokens", "KV_leases"],
    after: ["AUDIT"],
  });
});
