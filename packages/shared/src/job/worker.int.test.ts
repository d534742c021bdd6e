import { type ChildProcess, spawn } from "node:child_process";
import { appendFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { type NatsServer, startNatsServer } from "@chom/stack/nats-server";
import { scratchFolder } from "@chom/stack/scratch-folder";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { entryFor } from "../event-log/conformance.ts";
import { api, connectNats, type Nats } from "../event-log/nats.ts";
import { brokerEngine, quickTopology } from "../testing/broker-engine.ts";
import { ledgerJob, ledgerLines } from "../testing/ledger-job.ts";
import { apply } from "../topology/apply.ts";
import { createDispatch, itemOf } from "./dispatch.ts";
import type { Engine } from "./engine.ts";
import { jobControl } from "./job-control.ts";
import { openJournal } from "./journal-writer.ts";
import { readJournal } from "./journal.ts";
import { sweep } from "./sweeper.ts";
import { startWorkers } from "./worker.ts";

let server: NatsServer;
let nats: Nats;
let engine: Engine;
const scratch = scratchFolder("worker");
const folder = scratch.path;
const file = join(folder, "ledger");
const made = ledgerJob(file);
const oneTry = { ...ledgerJob(file, 1), name: "backup.once" };
const tenant = "acme";

beforeAll(async () => {
  writeFileSync(file, "");
  server = await startNatsServer();
  nats = await connectNats({ servers: server.url, name: "test" });
  await apply(nats, quickTopology(), { nowMs: Date.now() });
  engine = brokerEngine(nats, [made, oneTry]);
});
afterAll(async () => {
  engine?.queue.close();
  await nats?.close();
  await server?.stop();
  scratch.remove();
});

const send = (jobId: string, doing = "work", more = {}) =>
  createDispatch(engine)({
    job: made,
    jobId,
    tenant,
    actor: "tester",
    input: { id: jobId, doing },
    ...more,
  });
const journal = (jobId: string) => readJournal(engine, `jrn.${tenant}.backup.${jobId}`);
const names = async (jobId: string) => (await journal(jobId)).map(({ name }) => name);
const state = async (jobId: string) => (await openJournal(engine, { tenant, jobId })).state();
const facts = async (jobId: string) => {
  const entries = await engine.log.load("EVENTS", `evt.${tenant}.backups.${jobId}`);
  return entries.map(({ type, body }) => `${type.split(".").at(-1)} ${JSON.parse(body).text}`);
};
const lines = (jobId: string) =>
  ledgerLines(file).flatMap((line) =>
    line.startsWith(`${jobId} `) ? [line.slice(jobId.length + 1)] : [],
  );
async function until(holds: () => Promise<boolean> | boolean, withinMs = 30_000): Promise<void> {
  const deadline = Date.now() + withinMs;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error("it does not come true");
    await sleep(50);
  }
}
/** The end is in the journal a moment before its facts are in the event log; the item is acknowledged after both. */
const ended = async (jobId: string) =>
  (await state(jobId)).end !== undefined &&
  (await engine.queue.presence(itemFor(jobId))) !== "item";
const allEnd = (jobIds: readonly string[]) =>
  until(async () => (await Promise.all(jobIds.map(ended))).every(Boolean), 50_000);
function work(of: Engine = engine, concurrency = 16) {
  const workers = startWorkers({ engine: of, concurrency });
  onTestFinished(() => workers.stop(0));
  return workers;
}
async function control(verb: string, jobId: string): Promise<void> {
  const wish = { family: "backup", jobId, verb, actor: "op", reason: "because" };
  const meta = { tenant, eventId: `wish-${verb}-${jobId}` } as never;
  await jobControl(engine).on["JobControlRequested"]?.(wish, meta);
}
function child(...args: string[]): ChildProcess {
  const script = fileURLToPath(new URL("../testing/worker-process.ts", import.meta.url));
  const started = spawn(process.execPath, [script, server.url, file, ...args], {
    stdio: ["ignore", "ignore", "inherit"],
  });
  onTestFinished(() => void started.kill("SIGKILL"));
  return started;
}
const gone = (process: ChildProcess) =>
  new Promise<{ code: number | null; signal: string | null }>((done) =>
    process.once("exit", (code, signal) => done({ code, signal })),
  );

test("the same dispatch twice is one job", async () => {
  const both = await Promise.all([send("twice"), send("twice")]);
  expect(both.map(({ created }) => created).toSorted()).toEqual([false, true]);
  await expect(send("twice", "else")).rejects.toMatchObject({ code: "already-exists" });
  work();
  await allEnd(["twice"]);
  expect(await names("twice")).toEqual([
    "JobQueued",
    "JobStarted",
    "StepCompleted",
    "StepCompleted",
    "StepCompleted",
    "JobCompleted",
  ]);
});

test("a worker killed after any of its effects leaves a job that ends once, with its facts once", async () => {
  const jobs: string[] = [];
  for (let effect = 1; effect < 40; effect += 1) {
    const jobId = `crash-${effect}`;
    await send(jobId);
    jobs.push(jobId);
    const { code, signal } = await gone(child("crash", jobId, String(effect)));
    if (code === 0) break;
    expect(signal).toBe("SIGKILL");
  }
  // Lease, keys, start, begun, three steps with a record, end, facts, releases, ack.
  expect(jobs.length).toBeGreaterThan(10);
  work();
  await allEnd(jobs);
  for (const jobId of jobs) {
    const told = await facts(jobId);
    expect(told, jobId).toHaveLength(4);
    expect(told.slice(0, 2), jobId).toEqual(["Begun work", "Noted half way"]);
    expect(told[2], jobId).toMatch(/^Ended attempt [12]$/);
    expect((await names(jobId)).filter((name) => name === "JobCompleted")).toHaveLength(1);
  }
}, 120_000);

test("a job whose only worker was killed fails as worker-lost, after taking back what was done", async () => {
  await send("lost", "work", { job: oneTry });
  // Run lease, keys, start, its fact, first step, record.
  const { signal } = await gone(child("crash", "lost", "6"));
  expect(signal).toBe("SIGKILL");
  work();
  await allEnd(["lost"]);
  expect(await facts("lost")).toContain("Failed worker-lost");
  expect(lines("lost")).toEqual(["one", "undone"]);
});

test("case 79: a job whose journal a newer release went on with is put back, untouched, and all else goes on", async () => {
  await send("newer");
  const subject = `jrn.${tenant}.backup.newer`;
  const [queued] = await engine.log.load("JOURNAL", subject);
  const entry = entryFor(subject, "newer-2", { type: "chom.jobs.v1.JobOfTomorrow" });
  await engine.log.append("JOURNAL", subject, queued?.sequence ?? 0, [entry]);
  work();
  const item = { family: "backup", queue: "default", tenant, jobId: "newer" } as const;
  await expect.poll(() => engine.queue.presence(item), { timeout: 30_000 }).toBe("schedule");
  await send("known");
  await allEnd(["known"]);
  expect((await engine.log.load("JOURNAL", subject)).map(({ type }) => type)).toEqual([
    "chom.jobs.v1.JobQueued",
    "chom.jobs.v1.JobOfTomorrow",
  ]);
  // It is still shown, up to where it is understood.
  expect(await names("newer")).toEqual(["JobQueued"]);
  const opened = await openJournal(engine, { tenant, jobId: "newer" });
  await expect(opened.request([])).rejects.toThrow("only a release that knows");
});

test("jobs go on after the broker was killed and started again", async () => {
  const jobs = Array.from({ length: 20 }, (_, index) => `broker-${index}`);
  for (const jobId of jobs) await send(jobId);
  work(engine, 2);
  await sleep(20);
  await server.kill();
  await sleep(200);
  await server.restart();
  await allEnd(jobs);
  for (const jobId of jobs) {
    expect((await facts(jobId)).filter((fact) => fact.startsWith("Ended"))).toHaveLength(1);
  }
}, 90_000);

test("a job waits for the lease of another and is woken when it is free", async () => {
  const key = `${tenant}.site.waits`;
  const taken = await engine.leases.acquire(key, "another");
  if (!("lease" in taken)) throw new Error("the lease should be free");
  let lease = taken.lease;
  const renewing = setInterval(() => {
    void engine.leases.renew(lease).then((renewed) => {
      lease = renewed;
    });
  }, 500);
  await send("waits");
  work();
  await until(async () => (await names("waits")).includes("JobWaiting"));
  await sleep(1_000);
  clearInterval(renewing);
  await sleep(200);
  const freedAt = Date.now();
  await engine.leases.release(lease);
  await allEnd(["waits"]);
  // Far less than the 15 s after which it would look again by itself.
  expect(Date.now() - freedAt).toBeLessThan(10_000);
  expect(await names("waits")).toEqual(expect.arrayContaining(["JobWaiting", "JobCompleted"]));
  expect((await state("waits")).attempts).toBe(1);
});

test("a waiter that was woken and overtaken is woken again", async () => {
  const key = `${tenant}.site.overtaken`;
  const take = async (owner: string) => {
    const taken = await engine.leases.acquire(key, owner);
    if (!("lease" in taken)) throw new Error(`${owner} should have got the lease`);
    return taken.lease;
  };
  const first = await take("first");
  await send("overtaken");
  work();
  await until(async () => (await names("overtaken")).includes("JobWaiting"));
  await sleep(200);
  await engine.leases.release(first);
  const second = await take("second");
  // Long enough for the waiter to come, and to find the lease taken once more.
  await sleep(1_000);
  await engine.leases.release(second);
  // It would look again by itself after 15 s only.
  await until(() => ended("overtaken"), 10_000);
}, 30_000);

test("a queued job is cancelled at once, a running one stops and takes back what it did", async () => {
  await send("queued-1");
  await control("cancel", "queued-1");
  expect(await names("queued-1")).toEqual(["JobQueued", "JobCancelRequested", "JobCancelled"]);
  await send("running-1", "hang");
  work();
  await until(() => lines("running-1").includes("hangs"));
  await control("cancel", "running-1");
  await allEnd(["running-1"]);
  expect(lines("running-1")).toEqual(["one", "hangs", "undone"]);
  expect((await facts("running-1")).at(-1)).toBe("Dropped because");
  await until(async () => (await engine.queue.presence(itemFor("queued-1"))) === "nothing");
  expect(lines("queued-1")).toEqual([]);
});
const itemFor = (jobId: string) => ({ family: "backup", queue: "default", tenant, jobId }) as const;

test("a drained process gives its job back at once and without a spent attempt", async () => {
  await send("drained", "hang");
  const process = child("drain");
  await until(() => lines("drained").includes("hangs"));
  appendFileSync(file, "drained go on\n");
  process.kill("SIGTERM");
  expect(await gone(process)).toEqual({ code: 0, signal: null });
  expect((await state("drained")).attempts).toBe(0);
  const drainedAt = Date.now();
  work();
  await allEnd(["drained"]);
  expect(Date.now() - drainedAt).toBeLessThan(10_000);
  expect(await facts("drained")).toContain("Ended attempt 1");
});

test("the loss of the whole stream JOBS loses no job", async () => {
  const jobs = ["swept-1", "swept-2", "swept-3"];
  for (const jobId of jobs) await send(jobId);
  await api(nats, "STREAM.DELETE.JOBS");
  await apply(nats, quickTopology(), { nowMs: Date.now() });
  const due = async () =>
    (await Promise.all(jobs.map(state))).flatMap(({ queued, sequence }, index) =>
      queued
        ? [
            {
              item: itemOf("backup", { tenant, jobId: jobs[index] ?? "" }, queued),
              position: sequence,
            },
          ]
        : [],
    );
  const nothing = async () => [];
  const openJobs = { due, expired: nothing, untold: nothing, looked: nothing, toldBefore: nothing };
  const swept = {
    engine,
    db: undefined as never,
    openJobs: { ...openJobs, told: nothing } as never,
  };
  const sweeping = () => sweep({ ...swept, jobsMadeAt: async () => new Date(0) });
  expect(await sweeping()).toBe(3);
  // What is in the queue already is left alone.
  expect(await sweeping()).toBe(0);
  work();
  await allEnd(jobs);
});
