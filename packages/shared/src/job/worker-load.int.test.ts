import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { startNatsServer } from "@chom/stack/nats-server";
import { expect, onTestFinished, test } from "vitest";
import { connectNats } from "../event-log/nats.ts";
import { brokerEngine, quickTopology } from "../testing/broker-engine.ts";
import { chaosJob, receivedIn } from "../testing/chaos-job.ts";
import { apply } from "../topology/apply.ts";
import type { Topology } from "../topology/topology.ts";
import { createDispatch } from "./dispatch.ts";
import { foldJournal } from "./job-state.ts";
import { readJournal } from "./journal.ts";
import type { AnyJob } from "./job.ts";
import { startWorkers } from "./worker.ts";

const tenant = "acme";

/** A thousand items of one queue may be in hand at once. */
function wide({ streams, consumers }: Topology): Topology {
  const widened = consumers.map((each) =>
    each.stream === "JOBS" ? { ...each, config: { ...each.config, max_ack_pending: 1_000 } } : each,
  );
  return { streams, consumers: widened };
}

async function ground(jobOf: (folder: string) => AnyJob = chaosJob) {
  const folder = mkdtempSync(join(tmpdir(), "chom-load-"));
  const server = await startNatsServer();
  const nats = await connectNats({ servers: server.url, name: "test" });
  await apply(nats, wide(quickTopology(1, 100)), { nowMs: Date.now() });
  const made = jobOf(folder);
  const engine = brokerEngine(nats, [made]);
  onTestFinished(async () => {
    engine.queue.close();
    await nats.close();
    await server.stop();
    rmSync(folder, { recursive: true, force: true });
  });
  const dispatch = createDispatch(engine);
  const send = (jobId: string, waitMs = 0) =>
    dispatch({ job: made, jobId, tenant, actor: "tester", input: { id: jobId, waitMs } });
  async function sendAll(jobIds: readonly string[], waitMs = 0): Promise<void> {
    for (let at = 0; at < jobIds.length; at += 100) {
      await Promise.all(jobIds.slice(at, at + 100).map((jobId) => send(jobId, waitMs)));
    }
  }
  const stateOf = async (jobId: string) =>
    foldJournal(await readJournal(engine, `jrn.${tenant}.backup.${jobId}`));
  /** Asks only about those that were not seen to end. */
  async function untilEnded(jobIds: readonly string[], withinMs: number): Promise<void> {
    const deadline = Date.now() + withinMs;
    let open = [...jobIds];
    while (open.length > 0) {
      const item = (jobId: string) =>
        ({ family: "backup", queue: "default", tenant, jobId }) as const;
      const over = await Promise.all(
        open.slice(0, 50).map(async (jobId) => {
          const ended = (await stateOf(jobId)).end !== undefined;
          return ended && (await engine.queue.presence(item(jobId))) === "nothing";
        }),
      );
      const before = open.length;
      open = open.filter((_, index) => over[index] !== true);
      if (Date.now() > deadline) throw new Error(`stuck: ${open.slice(0, 5).join(", ")}`);
      if (open.length === before) await sleep(200);
    }
  }
  const factsOf = async (jobId: string) =>
    (await engine.log.load("EVENTS", `evt.${tenant}.backups.${jobId}`)).map(({ type }) =>
      type.split(".").at(-1),
    );
  return { folder, url: server.url, engine, sendAll, stateOf, untilEnded, factsOf };
}

const idsOf = (count: number) => Array.from({ length: count }, (_, index) => `job-${index}`);

test("of 1,000 jobs whose workers are killed at random none is lost, doubled or stuck", async () => {
  const { folder, url, sendAll, stateOf, untilEnded, factsOf } = await ground();
  const script = fileURLToPath(new URL("../testing/chaos-worker.ts", import.meta.url));
  const alive = new Set<ChildProcess>();
  let isOver = false;
  const start = () => {
    const child = spawn(process.execPath, [script, url, folder, "32"], {
      stdio: ["ignore", "ignore", "inherit"],
    });
    alive.add(child);
    child.once("exit", () => {
      alive.delete(child);
      if (!isOver) start();
    });
  };
  onTestFinished(() => {
    isOver = true;
    for (const child of alive) child.kill("SIGKILL");
  });
  const jobIds = idsOf(1_000);
  for (let count = 0; count < 3; count += 1) start();
  let kills = 0;
  const killing = setInterval(() => {
    const victims = [...alive];
    if (victims[Math.floor(Math.random() * victims.length)]?.kill("SIGKILL")) kills += 1;
  }, 1_500);
  onTestFinished(() => clearInterval(killing));
  await sendAll(jobIds, 20);
  // Then without killing: nothing may be left that only a new death would free.
  await sleep(9_000);
  clearInterval(killing);
  await untilEnded(jobIds, 60_000);
  expect(kills).toBeGreaterThan(3);
  const { effects, repetitions } = receivedIn(folder);
  // A key comes twice only from a job that was in the hands of a killed process.
  expect(repetitions).toBeLessThanOrEqual(kills * 32);
  expect(effects.toSorted()).toEqual(
    jobIds.flatMap((jobId) => [`${jobId}-first`, `${jobId}-second`]).toSorted(),
  );
  for (let at = 0; at < jobIds.length; at += 50) {
    await Promise.all(
      jobIds.slice(at, at + 50).map(async (jobId) => {
        expect((await stateOf(jobId)).end?.name, jobId).toBe("JobCompleted");
        expect(await factsOf(jobId), jobId).toEqual(["Arrived"]);
      }),
    );
  }
}, 100_000);

test("one worker has 1,000 jobs at work at the same moment", async () => {
  let running = 0;
  let peak = 0;
  const everybody = Promise.withResolvers<void>();
  const { engine, sendAll, untilEnded } = await ground((folder) => ({
    ...chaosJob(folder),
    async work() {
      running += 1;
      peak = Math.max(peak, running);
      // Nobody ends before all have begun.
      if (running === 1_000) everybody.resolve();
      await everybody.promise;
      running -= 1;
      return "together";
    },
  }));
  const jobIds = idsOf(1_000);
  await sendAll(jobIds);
  const workers = startWorkers({ engine, concurrency: 1_000 });
  onTestFinished(() => workers.stop(0));
  await untilEnded(jobIds, 50_000);
  expect(peak).toBe(1_000);
}, 80_000);

/** What the heap holds when nothing more can be freed. */
async function heldBytes(): Promise<number> {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  for (let times = 0; times < 4; times += 1) {
    collect();
    await sleep(50);
  }
  return process.memoryUsage().heapUsed;
}

test("a worker that ran thousands of jobs holds no more than before them", async () => {
  const { engine, sendAll, untilEnded } = await ground((folder) => ({
    ...chaosJob(folder),
    work: async (_: unknown, run: { id: string }) => run.id,
  }));
  const workers = startWorkers({ engine, concurrency: 64 });
  onTestFinished(() => workers.stop(0));
  const half = 1_500;
  const run = async (name: string) => {
    const jobIds = Array.from({ length: half }, (_, index) => `${name}-${index}`);
    await sendAll(jobIds);
    await untilEnded(jobIds, 30_000);
  };
  await run("warm");
  const before = await heldBytes();
  await run("first");
  const between = await heldBytes();
  await run("second");
  const after = await heldBytes();
  // A leak grows with each job in both halves; caches and compiled code settle after the first.
  const perJob = Math.min(between - before, after - between) / half;
  expect(perJob).toBeLessThan(300);
}, 100_000);
