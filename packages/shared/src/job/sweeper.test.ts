import { expect, test } from "vitest";
import { memoryWorld } from "../testing/memory-engine.ts";
import { scanFamily } from "../testing/scan-family.ts";
import type { DueJob, OpenJobs } from "./open-jobs.ts";
import { sweep } from "./sweeper.ts";

const item = (jobId: string) =>
  ({ family: "backup", queue: "default", tenant: "tenant-1", jobId }) as const;

/** The table in memory: jobs by the time at which they are due. */
function openJobsOf(due: Map<string, Date>): OpenJobs {
  const asked = (before: Date) => [...due].filter(([, at]) => at < before);
  return {
    due: async (_: unknown, before: Date, limit: number): Promise<DueJob[]> =>
      asked(before)
        .toSorted(([, a], [, b]) => a.getTime() - b.getTime())
        .slice(0, limit)
        .map(([jobId]) => ({ item: item(jobId), position: 1 })),
    async looked(_: unknown, jobs: readonly DueJob[], again: Date) {
      for (const job of jobs) due.set(job.item.jobId, again);
    },
    expired: async () => [],
    untold: async () => [],
    told: async () => {},
    toldBefore: async () => {},
  } as unknown as OpenJobs;
}

test("a lost job is put back although two thousand others wait longer than it", async () => {
  const world = memoryWorld();
  const { engine } = scanFamily(async () => "fine", {}, { world });
  const due = new Map<string, Date>();
  const now = world.clock.now().getTime();
  for (let index = 0; index < 2_000; index += 1) {
    const jobId = `waiting-${index}`;
    due.set(jobId, new Date(now - 90_000 + index));
    await engine.queue.schedule(item(jobId), new Date(now + 3_600_000), index + 1);
  }
  due.set("lost", new Date(now - 40_000));
  const jobsMadeAt = async () => new Date(0);
  const options = { engine, db: undefined as never, openJobs: openJobsOf(due), jobsMadeAt };
  expect(await sweep(options)).toBe(1);
  expect(await engine.queue.presence(item("lost"))).toBe("item");
  expect(await sweep(options)).toBe(0);
});

test("a job that has ended is not queued again because the table does not know it yet", async () => {
  const family = scanFamily(async () => "fine");
  await family.send("ended");
  await family.runToEnd();
  expect(await family.names("ended")).toContain("JobCompleted");
  const { engine } = family;
  const due = new Map([["ended", new Date(engine.clock.now().getTime() - 40_000)]]);
  const jobsMadeAt = async () => new Date(0);
  const options = { engine, db: undefined as never, openJobs: openJobsOf(due), jobsMadeAt };
  expect(await sweep(options)).toBe(0);
  expect(await engine.queue.presence(item("ended"))).toBe("nothing");
});
