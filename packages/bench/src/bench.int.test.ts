import { expect, test } from "vitest";
import { startBroker } from "./broker.ts";
import { runEngine } from "./engine-run.ts";
import { memory, type Plan, throughput } from "./measure.ts";
import { benchEngine, noopJob, tenant } from "./noop-job.ts";
import { runRaw, sampleOf } from "./raw-run.ts";

const plan: Plan = {
  syncs: ["default"],
  loads: [
    { inFlight: 1, jobs: 4 },
    { inFlight: 16, jobs: 40 },
  ],
  turns: 2,
  latencySamples: 1,
};

test("the bench measures every load that was asked for, with as many jobs as it says", async () => {
  const told: number[] = [];
  const rows = await throughput("default", plan, ({ inFlight }) => told.push(inFlight));
  expect(told).toEqual([1, 16]);
  expect(rows.map(({ jobs, inFlight }) => ({ jobs, inFlight }))).toEqual([
    { jobs: 4, inFlight: 1 },
    { jobs: 40, inFlight: 16 },
  ]);
  for (const { jobsPerSecond, rawJobsPerSecond, ratio, cpuMicros, rawCpuMicros } of rows) {
    expect(jobsPerSecond).toBeGreaterThan(0);
    expect(cpuMicros).toBeGreaterThan(0);
    expect(rawCpuMicros).toBeGreaterThan(0);
    expect(ratio).toBeCloseTo(jobsPerSecond / rawJobsPerSecond, 6);
  }
});

test("a job of the bench leaves its whole history, and the ceiling the same messages", async () => {
  const broker = await startBroker(false);
  try {
    const made = noopJob();
    const engine = benchEngine(broker.nats, made);
    await runEngine(engine, made, { jobs: 6, inFlight: 3, prefix: "e" });
    const sample = await sampleOf(engine.log, "e-6");
    const types = [...sample.journal, ...sample.events].map(({ type }) => type.split(".").at(-1));
    expect(types).toEqual(["JobQueued", "JobStarted", "JobCompleted", "NoopDone"]);
    await runRaw(broker.nats, sample, { jobs: 6, inFlight: 3, prefix: "r" });
    for (const index of [1, 6]) {
      const raw = await sampleOf(engine.log, `r-${index}`);
      expect([...raw.journal, ...raw.events].map(({ type }) => type.split(".").at(-1))).toEqual(
        types,
      );
    }
    const item = { family: "backup", queue: "default", tenant, jobId: "r-1" } as const;
    expect(await engine.queue.presence(item)).toBe("nothing");
    engine.queue.close();
  } finally {
    await broker.stop();
  }
});

test("the memory of a worker is that of a process of its own", async () => {
  const { idleMb, afterMb, jobs } = await memory(20);
  expect(jobs).toBe(20);
  expect(idleMb).toBeGreaterThan(20);
  expect(afterMb).toBeGreaterThan(20);
});
