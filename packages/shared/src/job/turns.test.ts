import { expect, test } from "vitest";
import { transient } from "../failure/failure.ts";
import { circuits } from "../limit/circuits.ts";
import { limits } from "../limit/limits.ts";
import { defaultLimits } from "../limit/named-limits.ts";
import { memoryEngine, memoryWorld } from "../testing/memory-engine.ts";
import { memoryLimitStore } from "../testing/memory-limit-store.ts";
import { takeNote } from "../testing/toy-family.ts";
import { createDispatch } from "./dispatch.ts";
import type { AnyJob } from "./job.ts";
import type { Run } from "./run.ts";

const tenant = "tenant-1";
// biome-ignore lint/suspicious/noExplicitAny: any job's run.
type AnyRun = Run<any>;

function setup(made: AnyJob, caps = {}) {
  const world = memoryWorld();
  const store = memoryLimitStore();
  const rates = { ...defaultLimits, provisioning: { count: 2, perMs: 60_000 } };
  const rule = { failures: 2, windowMs: 600_000, openMs: 90_000, probeMs: 60_000 };
  const turns = {
    limits: limits(store, rates, world.clock),
    circuits: circuits(store, world.clock, rule),
    caps,
  };
  const memory = memoryEngine([made], { world, around: (engine) => ({ ...engine, turns }) });
  const send = (jobId: string) =>
    createDispatch(memory.engine)({ job: made, jobId, tenant, actor: "t", input: { text: jobId } });
  const startedAt = async (jobId: string) =>
    (await memory.journal(jobId)).find(({ name }) => name === "JobStarted")?.meta.time.getTime() ??
    0;
  return { ...memory, send, startedAt };
}

test("a job over its limit waits, journaled once and without an attempt, until there is room", async () => {
  const limited: AnyJob = {
    ...takeNote,
    of: ({ text }: { text: string }) => text,
    rateLimit: () => ({ name: "provisioning", key: "s1" }),
  };
  const { send, runToEnd, journal, startedAt, state } = setup(limited);
  for (const jobId of ["a", "b", "c"]) await send(jobId);
  await runToEnd();
  expect((await startedAt("c")) - (await startedAt("a"))).toBeGreaterThanOrEqual(60_000);
  const entries = await journal("c");
  const waits = entries.filter(({ name }) => name === "JobWaiting");
  expect(waits.map(({ data }) => data)).toMatchObject([
    { reason: "limit", leaseKey: "provisioning s1" },
  ]);
  expect(await state("c")).toMatchObject({ attempts: 1, end: { name: "JobCompleted" } });
});

test("a job that defers or skips gives back what it was charged", async () => {
  let looks = 0;
  const idle = {
    ...takeNote,
    of: ({ text }: { text: string }) => text,
    rateLimit: () => ({ name: "provisioning", key: "s1" }),
    work: async ({ text }: { text: string }, run: AnyRun) => {
      looks += 1;
      if (text === "skips") return run.skip("nothing to do");
      if (looks < 5) return run.defer({ seconds: 1 }, "not yet");
      return { length: 1 };
    },
  } as unknown as AnyJob;
  const { send, runToEnd, journal, state } = setup(idle);
  await send("defers");
  await runToEnd();
  for (const jobId of ["skips", "b"]) {
    await send(jobId);
    await runToEnd();
  }
  for (const jobId of ["defers", "skips", "b"]) {
    const waits = (await journal(jobId)).filter(({ name }) => name === "JobWaiting");
    expect(waits).toEqual([]);
  }
  expect(await state("b")).toMatchObject({ attempts: 1, end: { name: "JobCompleted" } });
});

test.each(["acme-unreachable", "repo-unavailable", "dns-unavailable"])(
  "%s says nothing about the host, and neither does a job that skips",
  async (code) => {
    const failing = {
      ...takeNote,
      of: ({ text }: { text: string }) => text,
      circuit: () => "s1",
      tries: 1,
      work: async ({ text }: { text: string }, run: AnyRun) => {
        if (text.startsWith("skip")) return run.skip("nothing to do");
        throw transient(text.startsWith("far") ? code : "ssh-unreachable", "no answer");
      },
    } as unknown as AnyJob;
    const { send, runReady, journal } = setup(failing);
    const waits = async (jobId: string) => {
      await send(jobId);
      await runReady();
      return (await journal(jobId)).some(({ name }) => name === "JobWaiting");
    };
    for (const jobId of ["far-1", "far-2", "far-3", "near-1", "skip-1", "near-2"]) {
      expect(await waits(jobId), jobId).toBe(false);
    }
    expect(await waits("near-3")).toBe(true);
  },
);

test("after repeated failures of a host its other jobs wait without attempts, and one probe goes first", async () => {
  let isDown = true;
  const flaky = {
    ...takeNote,
    of: ({ text }: { text: string }) => text,
    circuit: () => "s1",
    tries: 1,
    work: async () => {
      if (isDown) throw transient("ssh-unreachable", "no route");
      return { length: 1 };
    },
  } as unknown as AnyJob;
  const { send, runToEnd, runReady, journal, startedAt, state } = setup(flaky);
  for (const jobId of ["a", "b"]) {
    await send(jobId);
    await runReady();
  }
  expect((await state("b")).end?.name).toBe("JobFailed");
  isDown = false;
  await send("c");
  await runToEnd();
  expect((await startedAt("c")) - (await startedAt("b"))).toBeGreaterThanOrEqual(90_000);
  expect((await journal("c")).filter(({ name }) => name === "JobWaiting")).toHaveLength(1);
  expect(await state("c")).toMatchObject({ attempts: 1, end: { name: "JobCompleted" } });
});

test("no more jobs run on a server than it has slots, and a slot given back goes to the next", async () => {
  let running = 0;
  let most = 0;
  const made = {
    ...takeNote,
    of: ({ text }: { text: string }) => text,
    server: () => "s1",
    work: async () => {
      running += 1;
      most = Math.max(most, running);
      for (let turn = 0; turn < 5; turn += 1) await new Promise((done) => setImmediate(done));
      running -= 1;
      return { length: 1 };
    },
  } as unknown as AnyJob;
  const { send, runToEnd, state, journal } = setup(made, { server: 2 });
  const ids = ["a", "b", "c", "d", "e"];
  for (const jobId of ids) await send(jobId);
  await runToEnd();
  expect(most).toBe(2);
  for (const jobId of ids) expect((await state(jobId)).end?.name).toBe("JobCompleted");
  const reasons = (await Promise.all(ids.map(journal)))
    .flat()
    .flatMap((entry) => (entry.name === "JobWaiting" ? [entry.data.reason] : []));
  expect(new Set(reasons)).toEqual(new Set(["slot"]));
});
