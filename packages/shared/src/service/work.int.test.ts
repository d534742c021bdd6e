import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, expect, onTestFinished, test, vi } from "vitest";
import type { DispatchOptions } from "../job/job.ts";
import type { WorkReport } from "../job/work-report.ts";
import { type Ground, startGround } from "../testing/ground.ts";
import { takeNote, toyFamily } from "../testing/toy-family.ts";
import type { App } from "./app.ts";
import { type Running, startService } from "./start.ts";

const main = fileURLToPath(new URL("../testing/toy-main.ts", import.meta.url));
const tenant = "acme";
let ground: Ground;
let environment: Record<string, string>;
let api: Running;
let app: App;

/** The API of the family runs in this process, without workers; it journals and queues. */
beforeAll(async () => {
  ground = await startGround();
  environment = await ground.environment("ssl");
  const toy = toyFamily(new URL("./no-migrations", import.meta.url));
  const cast: typeof toy.cast = (made, settings) => {
    app = made;
    return toy.cast(made, settings);
  };
  api = await startService({ ...toy, cast }, { ...environment, CHOM_ROLE: "api" });
});
afterAll(async () => {
  await api?.stop();
  await ground?.stop();
});

let sent = 0;
/** Jobs that a test leaves are done by another worker, so that the next one finds empty queues. */
const left = new Set<string>();
afterEach(async () => {
  if (left.size === 0) return;
  const cleaner = worker({ CHOM_WORK_STOP_WHEN_EMPTY: "true", CHOM_WORK_TIMEOUT: "1s" });
  await cleaner.ended;
  left.clear();
});

async function send(text: string, options: DispatchOptions = {}): Promise<string> {
  sent += 1;
  const jobId = `note-${sent}`;
  const input = { text };
  await app.dispatch({ job: takeNote, jobId, input, tenant, actor: "tester", options });
  left.add(jobId);
  return jobId;
}

/** A worker process of the family; killed at the latest when its test ends. */
function worker(over: Record<string, string>) {
  const { CHOM_LISTEN: _, ...settings } = environment;
  const child = spawn(process.execPath, [main], {
    env: { PATH: process.env["PATH"], ...settings, CHOM_ROLE: "worker", ...over },
    stdio: ["ignore", "pipe", "pipe", "ipc"],
    timeout: 60_000,
    killSignal: "SIGKILL",
  });
  onTestFinished(() => void child.kill("SIGKILL"));
  let log = "";
  child.stdout?.setEncoding("utf8").on("data", (text: string) => (log += text));
  child.stderr?.setEncoding("utf8").on("data", (text: string) => (log += text));
  const reports: WorkReport[] = [];
  child.on("message", (report) => reports.push(report as WorkReport));
  const ended = new Promise<number | string | null>((resolve) =>
    // Not `close`, which never comes after a `disconnect` from our side.
    child.once("exit", (code, signal) => setTimeout(() => resolve(code ?? signal), 50)),
  );
  const tells = (work: WorkReport["work"], count = 1) =>
    vi.waitUntil(() => reports.filter((each) => each.work === work).length >= count, {
      timeout: 30_000,
      interval: 20,
    });
  const outcomes = () =>
    reports.flatMap((each) => (each.work === "job-ended" ? [`${each.jobId} ${each.outcome}`] : []));
  const stopped = () =>
    reports.flatMap((each) => (each.work === "worker-stopping" ? [each.reason] : []));
  return { child, ended, reports, log: () => log, tells, outcomes, stopped };
}

test("a process with CHOM_ROLE=api takes no work, and a worker beside it does", async () => {
  const jobId = await send("hello");
  await new Promise((resolve) => setTimeout(resolve, 1_500));
  const { entries } = await app.log.read("JOURNAL", `jrn.${tenant}.ssl.${jobId}`, 0, 10);
  expect(entries.map(({ type }) => type.split(".").at(-1))).toEqual(["JobQueued"]);
  const { ended, outcomes } = worker({ CHOM_WORK_STOP_WHEN_EMPTY: "true" });
  expect(await ended).toBe(0);
  expect(outcomes()).toEqual([`${jobId} completed`]);
});

test("stop-when-empty does what there is in every queue, and exits with 0", async () => {
  const first = await send("hello", { queue: "low" });
  const second = await send("fail", { queue: "high" });
  const run = worker({ CHOM_WORK_STOP_WHEN_EMPTY: "true", CHOM_WORKER_CONCURRENCY: "1" });
  expect(await run.ended).toBe(0);
  expect(run.outcomes()).toEqual([`${second} failed`, `${first} completed`]);
  expect(run.stopped()).toEqual(["empty"]);
  expect(run.reports.find(({ work }) => work === "job-ended")).toMatchObject({
    ...{ tenant, job: "note.take", queue: "high", attempt: 1, code: "unsupported-type" },
  });
});

test("once does one job and exits with 0, also when there is none", async () => {
  const first = await send("hello");
  await send("hello");
  const run = worker({ CHOM_WORK_ONCE: "true" });
  expect(await run.ended).toBe(0);
  expect(run.outcomes()).toEqual([`${first} completed`]);
  expect(await worker({ CHOM_WORK_STOP_WHEN_EMPTY: "true" }).ended).toBe(0);
  const none = worker({ CHOM_WORK_ONCE: "true" });
  expect(await none.ended).toBe(0);
  expect(none.outcomes()).toEqual([]);
});

test("only the listed queues are worked, in the listed order", async () => {
  const high = await send("hello", { queue: "high" });
  await send("hello", { queue: "default" });
  const low = await send("hello", { queue: "low" });
  const run = worker({
    ...{ CHOM_WORK_QUEUES: "low,high", CHOM_WORKER_CONCURRENCY: "1" },
    CHOM_WORK_STOP_WHEN_EMPTY: "true",
  });
  expect(await run.ended).toBe(0);
  expect(run.outcomes()).toEqual([`${low} completed`, `${high} completed`]);
});

test("max-jobs ends a worker after so many jobs, failed ones counted", async () => {
  for (const text of ["fail", "hello", "hello"]) await send(text);
  const run = worker({ CHOM_WORK_MAX_JOBS: "2" });
  expect(await run.ended).toBe(0);
  expect(run.outcomes()).toHaveLength(2);
  expect(run.stopped()).toEqual(["max-jobs"]);
});

test("max-time ends an idle worker with 0", async () => {
  const run = worker({ CHOM_WORK_MAX_TIME: "1s" });
  expect(await run.ended).toBe(0);
  expect(run.stopped()).toEqual(["max-time"]);
});

test("a worker over its memory limit exits with 12 before it takes a job", async () => {
  await send("hello");
  const run = worker({ CHOM_WORK_MEMORY: "1" });
  expect(await run.ended).toBe(12);
  expect(run.outcomes()).toEqual([]);
  expect(run.stopped()).toEqual(["memory"]);
});

test("the worker's timeout cuts an attempt that its job allows a minute", async () => {
  const jobId = await send("wait", { tries: 1 });
  const run = worker({ CHOM_WORK_TIMEOUT: "1s", CHOM_WORK_STOP_WHEN_EMPTY: "true" });
  expect(await run.ended).toBe(0);
  expect(run.outcomes()).toEqual([`${jobId} failed`]);
  expect(run.reports.find(({ work }) => work === "job-ended")).toMatchObject({
    code: "attempt-timeout",
  });
});

test("the worker's name stands in the journal", async () => {
  const jobId = await send("hello");
  const run = worker({ CHOM_WORK_NAME: "night-shift", CHOM_WORK_STOP_WHEN_EMPTY: "true" });
  expect(await run.ended).toBe(0);
  const { entries } = await app.log.read("JOURNAL", `jrn.${tenant}.ssl.${jobId}`, 0, 10);
  const started = entries.find(({ type }) => type.endsWith("JobStarted"));
  expect(JSON.parse(started?.body ?? "{}")).toMatchObject({ worker: "night-shift" });
});

test("after SIGTERM nothing is taken, the job in hand may end, and the exit code is 0", async () => {
  const jobId = await send("wait", { tries: 1 });
  const run = worker({ CHOM_WORKER_CONCURRENCY: "1", CHOM_WORK_TIMEOUT: "3s", CHOM_DRAIN: "20s" });
  await run.tells("job-started");
  await send("hello");
  run.child.kill("SIGTERM");
  expect(await run.ended).toBe(0);
  // It ended by its own timeout within the drain time, not by the end of its worker.
  expect(run.outcomes()).toEqual([`${jobId} failed`]);
  expect(run.stopped()).toEqual(["SIGTERM"]);
});

test("a job that outlives the drain time is given back without a spent attempt", async () => {
  const jobId = await send("wait", { tries: 1 });
  const run = worker({ CHOM_DRAIN: "0s" });
  await run.tells("job-started");
  run.child.kill("SIGINT");
  expect(await run.ended).toBe(0);
  expect(run.outcomes()).toEqual([`${jobId} deferred`]);
});

test("a second signal ends a worker at once, with 1", async () => {
  await send("wait", { tries: 1 });
  const run = worker({ CHOM_DRAIN: "60s" });
  await run.tells("job-started");
  run.child.kill("SIGTERM");
  await run.tells("worker-stopping");
  const startedAt = performance.now();
  run.child.kill("SIGTERM");
  expect(await run.ended).toBe(1);
  expect(performance.now() - startedAt).toBeLessThan(5_000);
});

test("SIGUSR2 pauses a worker, and SIGCONT or a second SIGUSR2 lets it go on", async () => {
  const run = worker({});
  await run.tells("worker-started");
  for (const signal of ["SIGCONT", "SIGUSR2"] as const) {
    const rounds = run.outcomes().length;
    run.child.kill("SIGUSR2");
    await run.tells("worker-paused", rounds + 1);
    const jobId = await send("hello");
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    expect(run.outcomes()).toHaveLength(rounds);
    run.child.kill(signal);
    await run.tells("job-ended", rounds + 1);
    expect(run.outcomes().at(-1)).toBe(`${jobId} completed`);
  }
  run.child.kill("SIGTERM");
  expect(await run.ended).toBe(0);
});

test("a worker ends in order when the process that started it is gone", async () => {
  const run = worker({});
  await run.tells("worker-started");
  run.child.disconnect();
  expect(await run.ended).toBe(0);
  expect(run.log()).not.toContain("uncaught");
});

test("limits for a process that answers calls, and a worker of no family, are refused", async () => {
  const both = worker({ CHOM_ROLE: "all", CHOM_LISTEN: "127.0.0.1:0", CHOM_WORK_ONCE: "true" });
  expect(await both.ended).toBe(1);
  expect(both.log()).toContain("CHOM_WORK_ONCE belongs to CHOM_ROLE=worker");
  const deaf = worker({ CHOM_ROLE: "api" });
  expect(await deaf.ended).toBe(1);
  expect(deaf.log()).toContain("CHOM_LISTEN is not set");
});
