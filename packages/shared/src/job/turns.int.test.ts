/** Limits, circuits and slots on a real broker, asked by two engines that share nothing but that broker. */
import { randomUUID } from "node:crypto";
import { startNatsServer } from "@chom/stack/nats-server";
import { afterAll, beforeAll, expect, test } from "vitest";
import { connectNats, type Nats } from "../event-log/nats.ts";
import { transient } from "../failure/failure.ts";
import { circuits } from "../limit/circuits.ts";
import { limits } from "../limit/limits.ts";
import { limitStore } from "../limit/limit-store.ts";
import { defaultLimits } from "../limit/named-limits.ts";
import { leases } from "../lease/lease.ts";
import { brokerEngine } from "../testing/broker-engine.ts";
import { takeNote } from "../testing/toy-family.ts";
import { apply } from "../topology/apply.ts";
import { journalSubject } from "../topology/subjects.ts";
import { topology } from "../topology/topology.ts";
import { systemClock } from "./clock.ts";
import { createDispatch } from "./dispatch.ts";
import type { Engine } from "./engine.ts";
import type { AnyJob } from "./job.ts";
import { readJournal } from "./journal.ts";
import { startWorkers } from "./worker.ts";

const tenant = "tenant-1";
const patience = { timeout: 60_000, interval: 100 };
const hourMs = 3_600_000;
let broker: Awaited<ReturnType<typeof startNatsServer>>;
let connections: Nats[] = [];

beforeAll(async () => {
  broker = await startNatsServer();
  connections = await Promise.all(
    ["one", "two"].map((name) => connectNats({ servers: broker.url, name })),
  );
  await apply(connections[0] as Nats, topology({ replicas: 1 }), { nowMs: Date.now() });
});
afterAll(async () => {
  for (const nats of connections) await nats.close();
  await broker?.stop();
});

type Work = (text: string) => Promise<{ length: number }>;
const note = (more: Partial<AnyJob>, work: Work): AnyJob =>
  ({
    ...takeNote,
    of: ({ text }: { text: string }) => text,
    tries: 1,
    ...more,
    work: ({ text }: { text: string }) => work(text),
  }) as unknown as AnyJob;

/** Two engines with workers of their own; ended with the test's body. */
async function withTwo(
  made: AnyJob,
  caps: { server?: number },
  body: (at: {
    send: (ids: readonly string[]) => Promise<void>;
    names: (jobId: string) => Promise<readonly string[]>;
    waits: (jobId: string) => Promise<readonly string[]>;
  }) => Promise<void>,
): Promise<void> {
  const rates = { ...defaultLimits, provisioning: { count: 3, perMs: hourMs } };
  const rule = { failures: 2, windowMs: hourMs, openMs: hourMs, probeMs: hourMs };
  const engines = connections.map((nats, index): Engine => {
    const store = limitStore(nats);
    const turns = {
      limits: limits(store, rates, systemClock),
      circuits: circuits(store, systemClock, rule),
      caps,
    };
    // Leases of the usual life: a slow machine must not look like a dead worker.
    const usual = leases(nats, { newHolder: randomUUID });
    return { ...brokerEngine(nats, [made], `worker-${index}`), leases: usual, turns };
  });
  const workers = engines.map((engine) => startWorkers({ engine, concurrency: 4 }));
  const first = engines[0] as Engine;
  const dispatch = createDispatch(first);
  const journal = (jobId: string) => readJournal(first, journalSubject(tenant, "backup", jobId));
  try {
    await body({
      async send(ids) {
        for (const jobId of ids) {
          await dispatch({ job: made, jobId, tenant, actor: "t", input: { text: jobId } });
        }
      },
      names: async (jobId) => (await journal(jobId)).map(({ name }) => name),
      waits: async (jobId) =>
        (await journal(jobId)).flatMap((entry) =>
          entry.name === "JobWaiting" ? [entry.data.reason] : [],
        ),
    });
  } finally {
    await Promise.all(workers.map((each) => each.stop(5_000)));
    for (const engine of engines) engine.queue.close();
  }
}

test("a limit of three lets three of eight jobs start over two engines; the others wait without an attempt", async () => {
  const made = note({ rateLimit: () => ({ name: "provisioning", key: "s1" }) }, async () => ({
    length: 1,
  }));
  const ids = Array.from({ length: 8 }, (_, index) => `limit-${index}`);
  await withTwo(made, {}, async ({ send, names, waits }) => {
    await send(ids);
    const kinds = async () => {
      const all = await Promise.all(ids.map(names));
      return {
        ended: all.filter((of) => of.includes("JobCompleted")).length,
        started: all.filter((of) => of.includes("JobStarted")).length,
        waiting: all.filter((of) => of.includes("JobWaiting")).length,
      };
    };
    await expect
      .poll(async () => {
        const { ended, started } = await kinds();
        const told = await Promise.all(ids.map(waits));
        const settled = told.filter(({ length }) => length > 0).length + ended;
        return { ended, started, isSettled: settled >= ids.length };
      }, patience)
      .toEqual({ ended: 3, started: 3, isSettled: true });
    for (const told of await Promise.all(ids.map(waits))) {
      expect(told.length).toBeLessThanOrEqual(1);
      for (const reason of told) expect(reason).toBe("limit");
    }
  });
}, 120_000);

test("a host that fails one engine's jobs is left alone by the other engine too", async () => {
  const made = note({ circuit: () => "s1" }, async () => {
    throw transient("ssh-unreachable", "no route");
  });
  await withTwo(made, {}, async ({ send, names, waits }) => {
    for (const id of ["down-0", "down-1"]) {
      await send([id]);
      await expect.poll(() => names(id), patience).toContain("JobFailed");
    }
    // The circuit is told after the job's end is written: who is sent now may still pass.
    const later = Array.from({ length: 8 }, (_, index) => `later-${index}`);
    const [store] = connections.map(limitStore);
    if (!store) throw new Error("no connection");
    const rule = { failures: 2, windowMs: hourMs, openMs: hourMs, probeMs: hourMs };
    const asked = circuits(store, systemClock, rule);
    await expect.poll(async () => "until" in (await asked.pass("s1", "test")), patience).toBe(true);
    await send(later);
    await expect
      .poll(async () => Promise.all(later.map(waits)), patience)
      .toEqual(later.map(() => ["circuit"]));
    for (const id of later) expect(await names(id)).not.toContain("JobStarted");
  });
}, 120_000);

test("no more jobs run on a server than it has slots, whichever engine runs them", async () => {
  let running = 0;
  let most = 0;
  const made = note({ server: () => "s1" }, async () => {
    running += 1;
    most = Math.max(most, running);
    await new Promise((done) => setTimeout(done, 50));
    running -= 1;
    return { length: 1 };
  });
  const ids = Array.from({ length: 16 }, (_, index) => `slot-${index}`);
  await withTwo(made, { server: 2 }, async ({ send, names, waits }) => {
    await send(ids);
    await expect
      .poll(async () => (await Promise.all(ids.map(names))).map((of) => of.at(-1)), patience)
      .toEqual(ids.map(() => "JobCompleted"));
    expect(most).toBeLessThanOrEqual(2);
    const reasons = new Set((await Promise.all(ids.map(waits))).flat());
    reasons.delete("slot");
    expect(reasons).toEqual(new Set());
    for (const id of ids) {
      expect((await names(id)).filter((name) => name === "JobStarted")).toHaveLength(1);
    }
  });
}, 120_000);
