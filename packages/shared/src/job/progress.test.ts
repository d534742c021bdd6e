import { expect, test } from "vitest";
import type { Subject } from "./outcome-entries.ts";
import { progressOf } from "./progress.ts";

test("progress is scrubbed of secrets before it is journaled", () => {
  const written: unknown[] = [];
  const journal = {
    jobId: "job-1",
    fact: async (_: number, entries: unknown[]) => void written.push(...entries),
  };
  const engine = { clock: { now: () => new Date(5_000) } };
  const subject = { engine, journal, startedSequence: 1 } as unknown as Subject;
  progressOf(subject)(50, "dumping with password=canary-0001 from postgres://chom:canary-0002@db");
  expect(written).toMatchObject([{ data: { percent: 50 } }]);
  expect(JSON.stringify(written)).not.toContain("canary");
  expect(JSON.stringify(written)).toContain("dumping with password=[secret]");
});
