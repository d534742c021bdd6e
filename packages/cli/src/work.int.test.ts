import { spawn } from "node:child_process";
import { mkdtempSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { RotateKeyInput } from "@chom/proto/chom/credentials/v1/events";
import { aggregate } from "@chom/shared/aggregate/aggregate";
import { job, type Queue } from "@chom/shared/job/job";
import type { App } from "@chom/shared/service/app";
import { type Running, startService } from "@chom/shared/service/start";
import { type Ground, startGround } from "@chom/shared/testing/ground";
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from "vitest";

const main = fileURLToPath(new URL("./main.ts", import.meta.url));
let ground: Ground;
let environment: Record<string, string>;
let api: Running;
let app: App;

const ignore = () => [];
const servers = aggregate({
  name: "server",
  events: {},
  initial: () => ({}),
  evolve: {},
  commands: { end: ignore },
});
/** Only to queue it: the worker has the real one, which fails on a server that nobody registered. */
const rotate = job(servers, {
  name: "key.rotate",
  input: RotateKeyInput,
  of: ({ serverId }) => serverId,
  ...({ done: "end", failed: "end", cancelled: "end" } as const),
  ...{ queue: "high" as const, tries: 1, timeoutMs: 60_000, backoffMs: [1_000] },
  work: async () => undefined,
});

/** Something of the family that queues but does not work; the workers are real processes of the real service. */
beforeAll(async () => {
  ground = await startGround();
  environment = await ground.environment("credentials");
  api = await startService(
    {
      name: "credentials",
      migrations: new URL("../../../services/credentials/migrations", import.meta.url),
      cast: (made) => {
        app = made;
        return { jobs: [rotate] };
      },
    },
    { ...environment, CHOM_ROLE: "api" },
  );
});
afterAll(async () => {
  await api?.stop();
  await ground?.stop();
});

const stopping = (reason: string) => expect.objectContaining({ work: "worker-stopping", reason });

let sent = 0;
async function send(queue: Queue = "high"): Promise<string> {
  sent += 1;
  const jobId = `rotate-${sent}`;
  const input = RotateKeyInput.fromPartial({ serverId: `nobody-${sent}` });
  const options = { queue };
  await app.dispatch({ job: rotate, jobId, input, tenant: "acme", actor: "tester", options });
  return jobId;
}

/** `chom work credentials …`; killed at the latest when its test ends. */
function work(args: readonly string[], env: Record<string, string> = environment) {
  const child = spawn(process.execPath, [main, "work", "credentials", ...args], {
    env: { PATH: process.env["PATH"], HOME: "/nonexistent", ...env },
    stdio: ["ignore", "pipe", "pipe"],
    timeout: 60_000,
    killSignal: "SIGKILL",
  });
  onTestFinished(() => void child.kill("SIGKILL"));
  const written = { out: "", err: "" };
  child.stdout.setEncoding("utf8").on("data", (text: string) => (written.out += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (written.err += text));
  const ended = new Promise<number | null>((resolve) => child.once("close", resolve));
  const json = () =>
    written.out
      .trim()
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => JSON.parse(line) as Record<string, unknown>);
  const says = (text: string, count = 1) =>
    vi.waitUntil(() => written.out.split(text).length > count, { timeout: 30_000, interval: 20 });
  return { child, ended, written, json, says };
}

test("what there is is done, each job told as it starts and ends, and the exit code is 0", async () => {
  const low = await send("low");
  const high = await send("high");
  const run = work(["--queue=high,default,low", "--stop-when-empty", "--concurrency", "1"]);
  expect(await run.ended).toBe(0);
  expect(run.written.out).toMatch(
    new RegExp(
      `works on high, default, low\n.*${high}  key.rotate  started \\(attempt 1, high\\)\n` +
        `.*${high}  key.rotate  failed: server-not-found \\([\\d.]+ s\\)\n.*${low}.*started.*\n.*${low}.*failed.*\n` +
        ".*stopping \\(empty\\)",
    ),
  );
});

test("with --json each line is one document with time, family and what happened", async () => {
  const jobId = await send();
  const run = work(["--once", "--json", "--name", "night-shift"]);
  expect(await run.ended).toBe(0);
  const time = expect.stringMatching(/^\d{4}-\d\d-\d\dT/);
  expect(run.json()).toMatchObject([
    { time, family: "credentials", work: "worker-started", worker: "night-shift" },
    // It takes nothing more from here on; the job in hand goes on to its end.
    { time, work: "worker-stopping", reason: "max-jobs" },
    { time, work: "job-started", jobId, job: "key.rotate", queue: "high", attempt: 1 },
    { time, work: "job-ended", jobId, outcome: "failed", durationMs: expect.any(Number) },
  ]);
});

test("settings come from a file, and a limit of memory exits with 12", async () => {
  const folder = mkdtempSync(join(ground.folder, "work-"));
  const file = join(folder, "credentials.env");
  const lines = Object.entries(environment).map(([name, value]) => `${name}=${value}`);
  writeFileSync(file, lines.join("\n"));
  const run = work(["--env-file", file, "--memory", "1", "--json"], {});
  expect(await run.ended).toBe(12);
  expect(run.json()).toContainEqual(stopping("memory"));
});

test("max-time and max-jobs end it with 0", async () => {
  const timed = work(["--max-time", "1", "--json"]);
  expect(await timed.ended).toBe(0);
  expect(timed.json()).toContainEqual(stopping("max-time"));
  await send();
  const counted = work(["--max-jobs", "1", "--json"]);
  expect(await counted.ended).toBe(0);
  expect(counted.json()).toContainEqual(stopping("max-jobs"));
});

test("signals reach the worker: SIGUSR2 pauses, SIGCONT goes on, SIGTERM ends it with 0", async () => {
  const run = work([]);
  await run.says("works on");
  run.child.kill("SIGUSR2");
  await run.says("paused");
  const jobId = await send();
  await new Promise((resolve) => setTimeout(resolve, 1_500));
  expect(run.written.out).not.toContain(jobId);
  run.child.kill("SIGCONT");
  await run.says(`${jobId}  key.rotate  failed`);
  run.child.kill("SIGTERM");
  expect(await run.ended).toBe(0);
  expect(run.written.out).toContain("stopping (SIGTERM)");
});

test("a worker does not outlive the command that started it", async () => {
  const run = work(["--json"]);
  await run.says("worker-started");
  const { worker } = run.json()[0] as { worker: string };
  const pid = Number(worker.split(".").at(-1));
  run.child.kill("SIGKILL");
  const isGone = () => {
    try {
      process.kill(pid, 0);
      return false;
    } catch {
      return true;
    }
  };
  await vi.waitUntil(isGone, { timeout: 20_000, interval: 50 });
});

test("an unknown family is a usage error, and settings that are missing are named with exit code 1", async () => {
  const missing = work([], {});
  expect(await missing.ended).toBe(1);
  expect(missing.written.err).toContain("CHOM_NATS_URL is not set");
  const wrong = spawn(process.execPath, [main, "work", "mail"], { stdio: "ignore" });
  expect(await new Promise((resolve) => wrong.once("exit", resolve))).toBe(2);
});
