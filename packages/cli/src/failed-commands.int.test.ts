/** `chom queue …`, `chom job …` and `chom alert …` as processes, against a scheduler and a toy family. */
import { readFileSync } from "node:fs";
import { SslServiceService } from "@chom/proto/chom/ssl/v1/ssl";
import { connectRpc } from "@chom/shared/rpc/client";
import { Secret } from "@chom/shared/secrets/secret";
import { type Running, startService } from "@chom/shared/service/start";
import { contextFor, runConsole, startServiceProcess } from "@chom/shared/testing/console";
import { type Ground, startGround } from "@chom/shared/testing/ground";
import { toyFamily } from "@chom/shared/testing/toy-family";
import { afterAll, beforeAll, expect, test } from "vitest";

let ground: Ground;
let toy: Running;
let scheduler: Awaited<ReturnType<typeof startServiceProcess>>;
let context: string;

beforeAll(async () => {
  ground = await startGround();
  toy = await startService(toyFamily(new URL("./none", import.meta.url)), {
    ...(await ground.environment("ssl")),
    CHOM_LOG_LEVEL: "silent",
  });
  scheduler = await startServiceProcess(ground, "scheduler", {
    CHOM_PRUNER_SEED_FILE: ground.seedFiles.pruner,
  });
  context = await contextFor(ground, "acme", { scheduler: scheduler.address, ssl: toy.address });
  const token = new Secret(await ground.issue("acme"));
  const tls = { ca: readFileSync(ground.caFile) };
  const ssl = connectRpc(SslServiceService, { address: toy.address, tls, token: () => token });
  for (const requestId of ["f-1", "f-2"]) {
    await ssl.calls.issueCertificate({ requestId, siteId: "", reason: "fail" });
  }
  ssl.close();
});
afterAll(async () => {
  await scheduler?.stop();
  await toy?.stop();
  await ground?.stop();
});

const chom = (...args: string[]) => runConsole(context, args);
const failed = async () => (await chom("queue", "failed", "--json")).json().length as number;

test("failed jobs are listed, retried by id and by filter, and unknown ones exit with 3", async () => {
  await expect.poll(() => failed(), { timeout: 30_000, interval: 1_000 }).toBe(2);
  const listed = await chom("queue", "failed");
  expect(listed.out).toMatch(/f-1\tnote\.take\tssl\.default\t.*unsupported-type/);
  const one = await chom("queue", "retry", "f-1", "--json");
  expect(one).toMatchObject({ code: 0 });
  expect(one.json()).toMatchObject({ done: 1, requested: 1 });
  const unknown = await chom("queue", "retry", "nobody", "--json");
  expect(unknown.code).toBe(3);
  expect((await chom("queue", "retry", "--code", "unsupported-type")).code).toBe(0);
  expect((await chom("queue", "retry")).code).toBe(2);
  const shown = (await chom("job", "show", "f-1", "--json")).json();
  expect(shown).toMatchObject({ jobId: "f-1", detail: { attempts: expect.any(Array) } });
  expect((await chom("job", "show", "f-1")).out).toMatch(/input +\{/);
});

test("forgetting and flushing ask first, and do nothing without an answer", async () => {
  await expect.poll(() => failed(), { timeout: 30_000, interval: 1_000 }).toBe(2);
  for (const args of [["forget", "f-1"], ["flush"]]) {
    expect(await chom("queue", ...args)).toMatchObject({ code: 4 });
  }
  expect(await failed()).toBe(2);
  expect((await chom("queue", "forget", "f-1", "--force")).code).toBe(0);
  await expect.poll(() => failed(), { timeout: 30_000, interval: 1_000 }).toBe(1);
  expect((await chom("queue", "flush", "--hours", "1", "--force")).code).toBe(0);
  expect(await failed()).toBe(1);
  expect((await chom("queue", "flush", "--force")).code).toBe(0);
  await expect.poll(() => failed(), { timeout: 30_000, interval: 1_000 }).toBe(0);
});

test("queues are monitored with an exit code, alerts are listed, and the past is told", async () => {
  const quiet = await chom("queue", "monitor", "default,high", "--max=100", "--json");
  expect(quiet.code).toBe(0);
  expect(quiet.json()).toMatchObject([{ queue: "default" }, { queue: "high" }]);
  expect((await chom("queue", "monitor", "nowhere")).code).toBe(2);
  expect((await chom("alert", "list", "--all", "--json")).json()).toEqual([]);
  const tail = await chom("job", "tail", "--after", "0", "--no-follow", "--type", "JobFailed");
  expect(tail.out.trim().split("\n").length).toBeGreaterThanOrEqual(2);
  const none = await chom("job", "list", "--id", "zzz", "--ended-after", "24h", "--json");
  expect(none.json()).toEqual([]);
});

test("clearing a queue counts first, asks, and needs a tenant where tenants share it", async () => {
  const own = ["queue", "clear", "ssl", "low", "--tenant", "acme"];
  expect((await chom(...own, "--dry-run", "--json")).json()).toEqual({});
  expect(await chom(...own)).toMatchObject({ code: 4 });
  expect((await chom(...own, "--force")).code).toBe(0);
  expect((await chom("queue", "clear", "ssl", "low", "--force")).code).not.toBe(0);
  expect((await chom("queue", "clear", "ssl", "lowest", "--force")).code).toBe(2);
});
