import { expect, test } from "vitest";
import { createBackup } from "./create-backup.ts";
import { restoreBackup } from "./restore-backup.ts";

const none = {} as never;
const timeoutOf = (job: { timeoutMs: number | ((input: never) => number) }, bytes: bigint) =>
  typeof job.timeoutMs === "number"
    ? job.timeoutMs
    : job.timeoutMs({ estimatedBytes: bytes } as never);

test("a backup has 3 tries 120 s apart, on the queue default, and 120 s or more for a larger site", () => {
  const made = createBackup(none);
  expect(made).toMatchObject({ queue: "default", tries: 3, backoffMs: [120_000] });
  expect(timeoutOf(made, 0n)).toBeGreaterThanOrEqual(120_000);
  expect(timeoutOf(made, 1n << 40n)).toBeGreaterThan(timeoutOf(made, 0n));
});

test("a restore has 2 tries 60 s apart, on the queue default, and 90 s or more for a larger site", () => {
  const made = restoreBackup(none);
  expect(made).toMatchObject({ queue: "default", tries: 2, backoffMs: [60_000] });
  expect(timeoutOf(made, 0n)).toBeGreaterThanOrEqual(90_000);
  expect(timeoutOf(made, 1n << 40n)).toBeGreaterThan(timeoutOf(made, 0n));
});

test("backups and restores wait for a server whose jobs keep failing", () => {
  const input = { serverId: "server-1" } as never;
  for (const made of [createBackup(none), restoreBackup(none)]) {
    expect(made.circuit?.(input)).toBe("server-1");
  }
});
