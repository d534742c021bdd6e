/** Failed jobs, details, the archive, the stream of all jobs and alerts, on a real broker and a real Postgres. */
import { readFileSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import {
  FailedJobOutcome,
  FailedJobs,
  type FailedJobsProgress,
  JobsServiceService,
  JobState,
  ListJobsRequest,
  WatchJobsRequest,
} from "@chom/proto/chom/jobs/v1/jobs";
import { AlertsServiceService } from "@chom/proto/chom/scheduler/v1/alerts";
import { SslServiceService } from "@chom/proto/chom/ssl/v1/ssl";
import { connectNats, type Nats } from "@chom/shared/event-log/nats";
import { purgeJournal } from "@chom/shared/event-log/purge";
import { connectRpc } from "@chom/shared/rpc/client";
import { Secret } from "@chom/shared/secrets/secret";
import type { App } from "@chom/shared/service/app";
import { type Running, startService } from "@chom/shared/service/start";
import { workerReports } from "@chom/shared/service/worker-report";
import { type Ground, startGround } from "@chom/shared/testing/ground";
import { toyFamily } from "@chom/shared/testing/toy-family";
import { inboxPrefix } from "@chom/shared/topology/names";
import { and, eq } from "drizzle-orm";
import { afterAll, beforeAll, expect, test } from "vitest";
import { alertsRpc } from "./alerts/alerts-rpc.ts";
import { checkAlerts } from "./alerts/check-alerts.ts";
import { alertReaders, watchAlerts } from "./alerts/watch-alerts.ts";
import { isSigned } from "./alerts/webhook.ts";
import { pruneFailed } from "./failed-jobs.ts";
import { getJob } from "./get-job.ts";
import { dropOld } from "./history/history-store.ts";
import { historyPorts, historyReaders, keepHistory } from "./history/keep-history.ts";
import { archiveEnded, pruneArchived } from "./history/retention.ts";
import { jobsRpc } from "./jobs-rpc.ts";
import { jobList } from "./projections.ts";
import { jobs as jobsTable } from "./tables.ts";

const signingKey = "the key of the webhook";
let ground: Ground;
let toy: Running;
let scheduler: Running;
let app: App;
let pruner: Nats;
let receiver: Server;
const told: { id: string; type: string; rule: string; tenant: string; signed: boolean }[] = [];
let refusals = 1;

/** Refuses the first alert, so that it has to be told again. */
async function startReceiver(): Promise<string> {
  receiver = createServer((request, response) => {
    let body = "";
    request.setEncoding("utf8").on("data", (text: string) => (body += text));
    request.on("end", () => {
      response.writeHead(refusals > 0 ? 503 : 200).end();
      refusals -= 1;
      if (refusals >= 0) return;
      const signature = String(request.headers["chom-signature"]);
      const signed = isSigned(new Secret(signingKey), { signature, body }, Date.now() / 1_000);
      told.push({ ...JSON.parse(body), id: String(request.headers["idempotency-key"]), signed });
    });
  });
  await new Promise<void>((resolve) => receiver.listen(0, "127.0.0.1", resolve));
  return `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/`;
}

beforeAll(async () => {
  ground = await startGround();
  const webhook = await startReceiver();
  const secretFile = join(ground.folder, "webhook.key");
  writeFileSync(secretFile, signingKey, { mode: 0o600 });
  toy = await startService(toyFamily(new URL("./none", import.meta.url)), {
    ...(await ground.environment("ssl")),
    CHOM_LOG_LEVEL: "silent",
  });
  scheduler = await startService(
    {
      name: "scheduler",
      migrations: new URL("../migrations", import.meta.url),
      settings: { ...historyReaders, ...alertReaders },
      async cast(given, settings) {
        app = given;
        const alerts = watchAlerts(app, settings);
        const history = await keepHistory(app, settings);
        return {
          projections: [jobList, alerts.projection],
          rpc: [jobsRpc(app), alertsRpc(app)],
          ticks: [...alerts.ticks],
          close: history.close,
        };
      },
    },
    {
      ...(await ground.environment("scheduler")),
      CHOM_LOG_LEVEL: "silent",
      CHOM_PRUNER_SEED_FILE: ground.seedFiles.pruner,
      CHOM_ALERT_EVERY: "1d",
      // The toy's worker lives in the process of this test, which is larger than a worker.
      CHOM_ALERT_WORKER_MEMORY_MB: "16384",
      CHOM_ALERT_WEBHOOK_URL: webhook,
      CHOM_ALERT_WEBHOOK_SECRET_FILE: secretFile,
      CHOM_ALLOWED_NETWORKS: "127.0.0.0/8",
    },
  );
  const seed = new Secret(readFileSync(ground.seedFiles.pruner, "utf8"));
  const as = { name: "test", inboxPrefix: inboxPrefix("pruner"), seed };
  pruner = await connectNats({ servers: ground.nats.url, ...as });
});
const open: { close(): void }[] = [];
afterAll(async () => {
  for (const { close } of open) close();
  await pruner?.close();
  await scheduler?.stop();
  await toy?.stop();
  receiver?.close();
  await ground?.stop();
});

async function as(tenant: string) {
  const token = new Secret(await ground.issue(tenant));
  const tls = { ca: readFileSync(ground.caFile) };
  const at = (address: string) => ({ address, tls, token: () => token });
  const jobs = connectRpc(JobsServiceService, at(scheduler.address));
  const alerts = connectRpc(AlertsServiceService, at(scheduler.address));
  const ssl = connectRpc(SslServiceService, at(toy.address));
  open.push(jobs, alerts, ssl);
  const list = async (wish: Parameters<typeof ListJobsRequest.fromPartial>[0] = {}) =>
    (await jobs.calls.listJobs(ListJobsRequest.fromPartial({ pageSize: 500, ...wish }))).jobs;
  const failed = () => list({ states: [JobState.FAILED] });
  const state = async (jobId: string) =>
    (await jobs.calls.getJob({ jobId, minPosition: 0n })).job?.state;
  return {
    ...{ jobs: jobs.calls, alerts: alerts.calls, list, failed, state },
    take: (requestId: string, reason: string) =>
      ssl.calls.issueCertificate({ requestId, siteId: "", reason }),
    ended: (jobId: string, wanted: JobState) =>
      expect.poll(() => state(jobId), { timeout: 30_000 }).toBe(wanted),
  };
}

async function all(steps: AsyncIterable<{ progress: FailedJobsProgress | undefined }>) {
  const seen: FailedJobsProgress[] = [];
  for await (const { progress } of steps) if (progress) seen.push(progress);
  const results = seen.flatMap((each) => each.results);
  return { batches: seen.length, last: seen.at(-1), results };
}
const which = (wish: Parameters<typeof FailedJobs.fromPartial>[0]) => ({
  jobs: FailedJobs.fromPartial(wish),
  reason: "test",
});

test("a failed job is retried with fresh tries, and again after its second failure", async () => {
  const { jobs, take, ended } = await as("twice");
  await take("again", "fail");
  await ended("again", JobState.FAILED);
  for (const generation of [2, 3]) {
    const { results } = await all(jobs.retryJobs(which({ jobIds: ["again"] })));
    expect(results).toMatchObject([{ outcome: FailedJobOutcome.REQUESTED }]);
    await expect
      .poll(async () => (await jobs.getJob({ jobId: "again", minPosition: 0n })).job, {
        timeout: 30_000,
      })
      .toMatchObject({ state: JobState.FAILED, generation, attempts: 1 });
  }
  const { attempts } = await jobs.getJobDetail({ jobId: "again", minPosition: 0n });
  expect(attempts.map(({ generation, outcome }) => [generation, outcome])).toEqual([
    [1, "failed"],
    [2, "failed"],
    [3, "failed"],
  ]);
});

test("each id gets its own answer, and other tenants' jobs do not exist", async () => {
  const { jobs, take, ended } = await as("ids");
  await take("id-fails", "fail");
  await take("id-works", "hello");
  await ended("id-fails", JobState.FAILED);
  await ended("id-works", JobState.COMPLETED);
  const ids = { jobIds: ["id-fails", "id-works", "id-nowhere", "again"] };
  const { last, results } = await all(jobs.forgetJobs(which(ids)));
  expect(results.map(({ outcome }) => outcome)).toEqual([
    FailedJobOutcome.REQUESTED,
    FailedJobOutcome.NOT_FAILED,
    FailedJobOutcome.NOT_FOUND,
    FailedJobOutcome.NOT_FOUND,
  ]);
  expect(last).toMatchObject({ done: 4n, requested: 1n, total: 4n });
  const shown = async () =>
    (await jobs.listJobs(ListJobsRequest.fromPartial({ states: [JobState.FAILED] }))).jobs;
  await expect.poll(shown).toEqual([]);
  const again = await all(jobs.retryJobs(which({ jobIds: ["id-fails"] })));
  expect(again.results).toMatchObject([{ outcome: FailedJobOutcome.NOT_FAILED }]);
  const forgotten = ListJobsRequest.fromPartial({ includeForgotten: true, idPrefix: "id-f" });
  expect((await jobs.listJobs(forgotten)).jobs).toMatchObject([
    { jobId: "id-fails", forgotten: true },
  ]);
  for (const wrong of [{}, { all: true, jobIds: ["a"] }, { filter: {} }]) {
    await expect(all(jobs.retryJobs(which(wrong)))).rejects.toMatchObject({ kind: "invalid" });
  }
});

test("all failed jobs of a kind are retried and flushed; crossing the limit alerts once, leaving it resolves once", async () => {
  const { jobs, take, failed, alerts } = await as("bulk");
  const count = 24;
  for (let at = 0; at < count; at += 1) await take(`b-${at}`, "fail");
  await expect.poll(async () => (await failed()).length, { timeout: 60_000 }).toBe(count);
  const retried = await all(jobs.retryJobs(which({ filter: { failureCode: "unsupported-type" } })));
  expect(retried.last).toMatchObject({ done: 24n, requested: 24n, total: 24n });
  const second = async () => (await failed()).filter(({ generation }) => generation === 2).length;
  await expect.poll(second, { timeout: 60_000 }).toBe(count);

  const edges = await Promise.all([checkAlerts(app), checkAlerts(app)]);
  expect(edges.map(({ raised }) => raised).toSorted()).toEqual([0, 1]);
  await expect
    .poll(async () => (await alerts.listAlerts(noFilter)).alerts)
    .toMatchObject([{ rule: "failed-jobs", active: true, value: 24, threshold: 10, episode: 1 }]);
  expect(await checkAlerts(app)).toEqual({ raised: 0, resolved: 0 });

  const young = { olderThanSeconds: 3_600n, reason: "" };
  expect((await all(jobs.flushFailedJobs(young))).last).toMatchObject({ done: 0n, total: 0n });
  const flushed = await all(jobs.flushFailedJobs({ olderThanSeconds: 0n, reason: "" }));
  expect(flushed.last).toMatchObject({ requested: 24n });
  await expect.poll(async () => (await failed()).length, { timeout: 60_000 }).toBe(0);

  expect(await checkAlerts(app)).toMatchObject({ resolved: 1 });
  await expect.poll(async () => (await alerts.listAlerts(noFilter)).alerts).toEqual([]);
  const past = await alerts.listAlerts({ ...noFilter, includeResolved: true });
  expect(past.alerts).toMatchObject([{ rule: "failed-jobs", active: false }]);
  // Refused once, then told once for each edge.
  await expect.poll(() => told.length, { timeout: 30_000 }).toBe(2);
  expect(told.map(({ type }) => type).toSorted()).toEqual(["AlertRaised", "AlertResolved"]);
  expect(told).toMatchObject([
    { tenant: "bulk", rule: "failed-jobs", signed: true },
    { tenant: "bulk", rule: "failed-jobs", signed: true },
  ]);
  expect(new Set(told.map(({ id }) => id)).size).toBe(2);
});
const noFilter = { includeResolved: false, rule: "", pageSize: 0, pageToken: "", minPosition: 0n };

test("old failed jobs of all tenants leave the list by maintenance", async () => {
  const { take, ended, failed } = await as("lazy");
  await take("old", "fail");
  await ended("old", JobState.FAILED);
  expect(await pruneFailed(app, 3_600_000)).toBe(0);
  const mine = and(eq(jobsTable.tenant, "lazy"), eq(jobsTable.jobId, "old"));
  await app.db
    .update(jobsTable)
    .set({ endedAt: new Date(0) })
    .where(mine);
  expect(await pruneFailed(app, 3_600_000)).toBe(1);
  await expect.poll(async () => (await failed()).length).toBe(0);
});

test("a job is shown with its masked input, its steps and its worker", async () => {
  const { jobs, take, ended } = await as("detail");
  await take("shown", "my password=hunter2");
  await ended("shown", JobState.COMPLETED);
  const detail = await jobs.getJobDetail({ jobId: "shown", minPosition: 0n });
  expect(JSON.parse(detail.inputJson)).toEqual({ text: "my password=[secret]" });
  expect(detail).toMatchObject({
    ...{ archived: false, inputProblem: "", timeoutMs: 60_000n },
    attempts: [{ attempt: 1, outcome: "completed", worker: expect.stringContaining("ssl@") }],
    steps: [{ name: "count", attempt: 1, exitCode: 0 }],
    waits: [{ kind: "queue" }],
  });
  const other = await as("elsewhere");
  await expect(other.jobs.getJobDetail({ jobId: "shown", minPosition: 0n })).rejects.toMatchObject({
    code: "job-not-found",
  });
});

test("a job that the read model has not seen yet is waited for", async () => {
  const { take, ended } = await as("behind");
  await take("unseen", "hello");
  await ended("unseen", JobState.COMPLETED);
  const [row] = await app.db.delete(jobsTable).where(eq(jobsTable.tenant, "behind")).returning();
  if (!row) throw new Error("the read model had no row");
  const last = await app.log.last("JOURNAL", "jrn.behind.ssl.unseen");
  const seen = async (_: string, position: number) => {
    if (position === last?.sequence) await app.db.insert(jobsTable).values(row);
  };
  const caller = { tenant: "behind", actor: "a", permissions: ["*"], deadline: new Date() };
  const signal = new AbortController().signal;
  const asked = { ...caller, signal, service: undefined, traceparent: "" };
  const { job } = await getJob({ ...app, seen }, { jobId: "unseen", minPosition: 0n }, asked);
  expect(job).toMatchObject({ jobId: "unseen", state: JobState.COMPLETED });
});

test("an ended journal leaves the broker after its retention, and is told from the archive", async () => {
  const { jobs, take, ended, state } = await as("keeper");
  await take("kept", "hello");
  await take("running", "wait");
  await ended("kept", JobState.COMPLETED);
  await ended("running", JobState.RUNNING);
  const before = await jobs.getJobDetail({ jobId: "kept", minPosition: 0n });
  const ports = historyPorts(app, pruner);
  const subject = "jrn.keeper.ssl.kept";
  expect(await pruneArchived(ports, 0)).toBe(0);
  await archiveEnded(ports);
  const later = { ...ports, now: () => new Date(Date.now() + 60_000) };
  await pruneArchived(later, 3_600_000);
  expect(await app.log.last("JOURNAL", subject)).toBeDefined();
  expect(await pruneArchived(later, 1_000)).toBeGreaterThan(0);
  expect(await app.log.last("JOURNAL", subject)).toBeUndefined();
  expect(await app.log.last("JOURNAL", "jrn.keeper.ssl.running")).toBeDefined();

  const after = await jobs.getJobDetail({ jobId: "kept", minPosition: 0n });
  expect(after).toEqual({ ...before, archived: true });
  const watched = [];
  for await (const { type } of jobs.watchJob({ jobId: "kept", afterSequence: 0n })) {
    watched.push(type);
  }
  expect(watched[0]).toBe("JobQueued");
  expect(watched.at(-1)).toBe("JobCompleted");
  expect(await state("kept")).toBe(JobState.COMPLETED);
  await expect(jobs.cancelJob({ jobId: "kept", reason: "" })).rejects.toMatchObject({
    code: "job-ended",
  });
  // Used again, the id is a new job.
  const { position: minPosition } = await take("kept", "other text");
  await jobs.getJob({ jobId: "kept", minPosition });
  await ended("kept", JobState.COMPLETED);
  const renewed = await jobs.getJobDetail({ jobId: "kept", minPosition: 0n });
  expect(renewed.archived).toBe(false);
  await archiveEnded(ports);
  await pruneArchived(later, 1_000);
  expect(await dropOld(app.db, new Date(0))).toBe(0);
  expect(await dropOld(app.db, new Date(Date.now() + 60_000))).toBeGreaterThan(0);
  await expect(state("kept")).rejects.toMatchObject({ code: "job-not-found" });
  expect(await state("running")).toBe(JobState.RUNNING);
  await jobs.cancelJob({ jobId: "running", reason: "" });
  await ended("running", JobState.CANCELLED);
});

test("purging needs one exact journal and its last sequence", async () => {
  for (const wrong of ["jrn.>", "jrn.keeper.ssl.*", "evt.keeper.site.1", "jrn.keeper.ssl"]) {
    await expect(purgeJournal(pruner, wrong, 1)).rejects.toThrow(TypeError);
  }
  await expect(purgeJournal(pruner, "jrn.keeper.ssl.a", 0)).rejects.toThrow(TypeError);
  // The scheduler's own user may not.
  await expect(purgeJournal(app.nats, "jrn.keeper.ssl.a", 1)).rejects.toThrow();
});

test("the queue's events are streamed by their old names too, filtered, and resumed without loss", async () => {
  const { jobs, take, ended } = await as("events");
  await take("ev-1", "hello");
  await take("ev-2", "fail");
  await ended("ev-1", JobState.COMPLETED);
  await ended("ev-2", JobState.FAILED);
  const read = async (wish: Parameters<typeof WatchJobsRequest.fromPartial>[0]) => {
    const seen = [];
    const request = WatchJobsRequest.fromPartial({ stopAtEnd: true, ...wish });
    for await (const entry of jobs.watchJobs(request)) seen.push(entry);
    return seen;
  };
  const types = ["JobProcessing", "JobProcessed", "JobFailed", "JobExceptionOccurred"];
  const seen = await read({ types });
  const of = (jobId: string) =>
    seen.filter((entry) => entry.jobId === jobId).map(({ queueEvent }) => queueEvent);
  expect(of("ev-1")).toEqual(["JobProcessing", "JobProcessed"]);
  // What will not be tried again is told once, by its end.
  expect(of("ev-2")).toEqual(["JobProcessing", "JobFailed"]);
  expect(new Set(seen.map(({ name, siteId }) => `${name} ${siteId}`))).toEqual(
    new Set(["note.take site-1"]),
  );
  const rest = await read({ types, afterSequence: seen[1]?.sequence ?? 0n });
  expect(rest.map(({ sequence }) => sequence)).toEqual(
    seen.slice(2).map(({ sequence }) => sequence),
  );
  expect(await read({ name: "note.lose" })).toEqual([]);
  expect(await read({ siteId: "site-1", types: ["JobFailed"] })).toHaveLength(1);
  await expect(read({ types: ["Nonsense"] })).rejects.toMatchObject({ kind: "invalid" });

  const live = [];
  const following = jobs.watchJobs(WatchJobsRequest.fromPartial({ fromNow: true }));
  const started = setTimeout(() => void take("ev-3", "later"), 500);
  for await (const entry of following) {
    live.push(`${entry.jobId} ${entry.type}`);
    if (entry.type === "JobCompleted") break;
  }
  clearTimeout(started);
  expect(live[0]).toBe("ev-3 JobQueued");
});

test("a queue is busy once and well again once, and every tenant sees its own size", async () => {
  const { jobs, alerts, take, ended } = await as("monitor");
  for (const id of ["m-1", "m-2", "m-3"]) {
    await take(id, "wait");
    await ended(id, JobState.RUNNING);
  }
  const look = async (max: number, queues = ["default", "ssl.default", "high"]) =>
    (await alerts.monitorQueues({ queues, max })).queues;
  expect(await look(3)).toMatchObject([
    { queue: "default", size: 3n, reserved: 3n, busy: true, edge: "raised" },
    { queue: "ssl.default", size: 3n, busy: true, edge: "raised" },
    { queue: "high", size: 0n, busy: false, edge: "" },
  ]);
  expect(await look(3)).toMatchObject([{ busy: true, edge: "" }, { edge: "" }, { edge: "" }]);
  const { alerts: others } = await as("stranger");
  expect((await others.monitorQueues({ queues: ["default"], max: 1 })).queues).toMatchObject([
    { size: 0n, busy: false },
  ]);
  for (const id of ["m-1", "m-2", "m-3"]) {
    await jobs.cancelJob({ jobId: id, reason: "" });
    await ended(id, JobState.CANCELLED);
  }
  // Resolved by the regular check, although nobody monitors any more.
  await expect
    .poll(async () => (await alerts.listAlerts(noFilter)).alerts.length, { timeout: 30_000 })
    .toBe(2);
  await checkAlerts(app);
  await expect.poll(async () => (await alerts.listAlerts(noFilter)).alerts).toEqual([]);
  await expect(look(1, ["nowhere"])).rejects.toMatchObject({ kind: "invalid" });
});

test("a worker process reports its memory while it lives", async () => {
  const reports = await workerReports(app.nats);
  expect(reports).toMatchObject([{ family: "ssl", pid: process.pid }]);
  expect(reports[0]?.rssBytes).toBeGreaterThan(10_000_000);
  expect(reports[0]?.worker).toMatch(/^ssl@/);
});

test("thousands of failed jobs are taken in batches that tell their progress, and none twice", async () => {
  const { jobs } = await as("many");
  const count = 2_500;
  const at = new Date();
  const row = { tenant: "many", family: "backup", name: "backup.create", queue: "default" };
  const rows = Array.from({ length: count }, (_, index) => ({
    ...{ ...row, jobId: `t-${index}`, state: JobState.FAILED, siteId: "", serverId: "" },
    ...{
      aggregateId: "a",
      tries: 1,
      actor: "a",
      queuedAt: at,
      endedAt: at,
      endedSequence: index + 1,
    },
  }));
  for (let from = 0; from < count; from += 500) {
    await app.db.insert(jobsTable).values(rows.slice(from, from + 500));
  }
  const first = await all(jobs.retryJobs(which({ all: true })));
  expect(first.batches).toBe(13);
  expect(first.last).toMatchObject({ done: 2_500n, requested: 2_500n, total: 2_500n });
  expect(new Set(first.results.map(({ jobId }) => jobId)).size).toBe(count);
  const again = await all(jobs.retryJobs(which({ filter: { family: "backup" } })));
  expect(again.last).toMatchObject({ done: 2_500n, requested: 0n });
}, 120_000);
