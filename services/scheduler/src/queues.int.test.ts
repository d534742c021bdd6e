import { readFileSync } from "node:fs";
import { JobState } from "@chom/proto/chom/jobs/v1/jobs";
import { type ClearQueueResponse, QueuesServiceService } from "@chom/proto/chom/jobs/v1/queues";
import { SslServiceService } from "@chom/proto/chom/ssl/v1/ssl";
import { connectRpc } from "@chom/shared/rpc/client";
import { Secret } from "@chom/shared/secrets/secret";
import { startService } from "@chom/shared/service/start";
import { startGround } from "@chom/shared/testing/ground";
import { toyFamily } from "@chom/shared/testing/toy-family";
import { expect, onTestFinished, test } from "vitest";
import { jobList } from "./projections.ts";
import { queuesRpc } from "./queues-rpc.ts";

const nowhere = new URL("./no-migrations", import.meta.url);

async function setup() {
  const ground = await startGround();
  onTestFinished(() => ground.stop());
  // A job that only ends when it is stopped need not be waited for.
  const environment = { ...(await ground.environment("ssl")), CHOM_DRAIN: "0s" };
  const toy = await startService(toyFamily(nowhere), environment);
  onTestFinished(() => toy.stop());
  const scheduler = await startService(
    {
      name: "scheduler",
      migrations: new URL("../migrations", import.meta.url),
      cast: (app) => ({ projections: [jobList], rpc: [queuesRpc(app)] }),
    },
    await ground.environment("scheduler"),
  );
  onTestFinished(() => scheduler.stop());
  const as = async (tenant: string) => {
    const token = new Secret(await ground.issue(tenant));
    const tls = { ca: readFileSync(ground.caFile) };
    const options = (address: string) => ({ address, tls, token: () => token });
    const queues = connectRpc(QueuesServiceService, options(scheduler.address));
    const ssl = connectRpc(SslServiceService, options(toy.address));
    onTestFinished(() => {
      queues.close();
      ssl.close();
    });
    return { queues: queues.calls, ssl: ssl.calls };
  };
  return { as, ground };
}

test("a paused queue gives out nothing, is seen with its reason, and resumes by itself; services still start", async () => {
  const { as, ground } = await setup();
  const [platform, acme] = [await as("platform"), await as("acme")];
  const wish = { family: "ssl", queue: "default", reason: "moving", until: undefined };
  await expect(acme.queues.pauseQueue(wish)).rejects.toMatchObject({ code: "not-permitted" });
  await platform.queues.pauseQueue(wish);
  await acme.ssl.issueCertificate({ requestId: "job-1", siteId: "", reason: "hello" });
  const statsOf = async () =>
    (await acme.queues.listQueues({})).queues.find(
      ({ family, queue }) => family === "ssl" && queue === "default",
    );
  await expect.poll(async () => (await statsOf())?.ready).toBe(1n);
  expect(await statsOf()).toMatchObject({ paused: true, pausedReason: "moving", running: 0n });
  const second = await startService(toyFamily(nowhere), await ground.environment("ssl"));
  await second.stop();
  expect((await statsOf())?.ready).toBe(1n);
  await platform.queues.pauseQueue({ ...wish, until: new Date(Date.now() + 3_000) });
  await expect.poll(async () => (await statsOf())?.ready, { timeout: 30_000 }).toBe(0n);
  expect(await statsOf()).toMatchObject({ paused: false, failed: 0n });
  await platform.queues.pauseQueue(wish);
  expect((await statsOf())?.paused).toBe(true);
  await platform.queues.resumeQueue({ family: "ssl", queue: "" });
  expect((await statsOf())?.paused).toBe(false);
  await acme.ssl.issueCertificate({ requestId: "job-2", siteId: "", reason: "wait" });
  await expect.poll(async () => (await statsOf())?.running).toBe(1n);
  const { leases } = await acme.queues.listLeases({ includeRuns: true });
  expect(leases.map(({ key }) => key)).toContain("run.job-2");
  expect(JobState.RUNNING).toBeTruthy();
}, 90_000);

test("clearing a queue cancels what never started and nothing else, for those who may, and can be tried before", async () => {
  const { as } = await setup();
  const [platform, acme, other] = [await as("platform"), await as("acme"), await as("other")];
  const queue = { family: "ssl", queue: "default" };
  const statsOf = async () =>
    (await platform.queues.listQueues({})).queues.find(
      (each) => each.family === "ssl" && each.queue === "default",
    );
  await acme.ssl.issueCertificate({ requestId: "at-work", siteId: "", reason: "wait" });
  await expect.poll(async () => (await statsOf())?.running).toBe(1n);
  await platform.queues.pauseQueue({ ...queue, reason: "full", until: undefined });
  for (const requestId of ["a-1", "a-2", "a-3"]) {
    await acme.ssl.issueCertificate({ requestId, siteId: "", reason: "hello" });
  }
  await other.ssl.issueCertificate({ requestId: "b-1", siteId: "", reason: "hello" });
  const clear = async (
    who: typeof acme,
    { tenant = "", dryRun = false }: { tenant?: string; dryRun?: boolean } = {},
  ) => {
    const wish = { ...queue, tenant, reason: "by mistake", dryRun };
    let last: ClearQueueResponse | undefined;
    for await (const step of who.queues.clearQueue(wish)) last = step;
    return last;
  };
  await expect(clear(acme)).rejects.toMatchObject({ code: "not-permitted" });
  await expect(clear(acme, { tenant: "other" })).rejects.toMatchObject({ code: "not-permitted" });
  expect(await clear(platform, { dryRun: true })).toEqual({ done: 0n, requested: 0n, total: 4n });
  expect(await clear(acme, { tenant: "acme" })).toEqual({ done: 3n, requested: 3n, total: 3n });
  await expect.poll(async () => (await statsOf())?.ready).toBe(1n);
  expect(await clear(platform)).toEqual({ done: 1n, requested: 1n, total: 1n });
  await expect.poll(async () => (await statsOf())?.ready).toBe(0n);
  await platform.queues.resumeQueue(queue);
  expect(await statsOf()).toMatchObject({ running: 1n, failed: 0n });
  expect(await clear(platform)).toEqual({ done: 0n, requested: 0n, total: 0n });
}, 90_000);
