import { readFileSync } from "node:fs";
import { EventsServiceService } from "@chom/proto/chom/events/v1/events";
import { type Job, JobsServiceService, JobState } from "@chom/proto/chom/jobs/v1/jobs";
import { SslServiceService } from "@chom/proto/chom/ssl/v1/ssl";
import { connectRpc } from "@chom/shared/rpc/client";
import { Secret } from "@chom/shared/secrets/secret";
import { type Running, startService } from "@chom/shared/service/start";
import { type Ground, startGround } from "@chom/shared/testing/ground";
import { toyFamily } from "@chom/shared/testing/toy-family";
import { afterAll, beforeAll, expect, test } from "vitest";
import { eventsRpc } from "./events-rpc.ts";
import { jobsRpc } from "./jobs-rpc.ts";
import { jobList } from "./projections.ts";

const nowhere = new URL("./no-migrations", import.meta.url);
let ground: Ground;
let toy: Running;
let scheduler: Running;

beforeAll(async () => {
  ground = await startGround();
  toy = await startService(toyFamily(nowhere), await ground.environment("ssl"));
  scheduler = await startService(
    {
      name: "scheduler",
      migrations: new URL("../migrations", import.meta.url),
      cast: (app) => ({ projections: [jobList], rpc: [jobsRpc(app), eventsRpc(app)] }),
    },
    await ground.environment("scheduler"),
  );
});
afterAll(async () => {
  await scheduler?.stop();
  await toy?.stop();
  await ground?.stop();
});

const open: { close(): void }[] = [];
afterAll(() => {
  for (const { close } of open) close();
});

/** Calls as somebody of a tenant. */
async function as(tenant: string) {
  const token = new Secret(await ground.issue(tenant));
  const tls = { ca: readFileSync(ground.caFile) };
  const options = (address: string) => ({ address, tls, token: () => token });
  const jobs = connectRpc(JobsServiceService, options(scheduler.address));
  const events = connectRpc(EventsServiceService, options(scheduler.address));
  const ssl = connectRpc(SslServiceService, options(toy.address));
  open.push(jobs, events, ssl);
  const take = (requestId: string, reason: string) =>
    ssl.calls.issueCertificate({ requestId, siteId: "", reason });
  const get = async (jobId: string, minPosition = 0n) =>
    (await jobs.calls.getJob({ jobId, minPosition })).job;
  return { jobs: jobs.calls, events: events.calls, take, get };
}

const everything = {
  family: "",
  name: "",
  states: [],
  siteId: "",
  serverId: "",
  tag: "",
  queuedAfter: undefined,
  queuedBefore: undefined,
  pageSize: 0,
  pageToken: "",
  minPosition: 0n,
  endedAfter: undefined,
  endedBefore: undefined,
  failureCode: "",
  chainId: "",
  batchId: "",
  scheduleId: "",
  idPrefix: "",
  includeForgotten: false,
  queue: "",
};
const watching = (jobId: string, afterSequence = 0n) => ({ jobId, afterSequence });

async function watched(stream: AsyncIterable<{ type: string; state: JobState; dataJson: string }>) {
  const seen = [];
  for await (const entry of stream) seen.push(entry);
  return seen;
}

test("a dispatched job is seen at its position, watched to its end and listed", async () => {
  const { jobs, take, get } = await as("acme");
  const { position } = await take("job-1", "hello");
  expect(await get("job-1", position)).toMatchObject({
    jobId: "job-1",
    family: "ssl",
    tenant: "acme",
  });
  const seen = await watched(jobs.watchJob(watching("job-1")));
  expect(seen.map(({ type }) => type)).toEqual(
    expect.arrayContaining(["JobQueued", "JobStarted", "StepCompleted", "JobCompleted"]),
  );
  expect(seen.at(-1)).toMatchObject({ type: "JobCompleted", state: JobState.COMPLETED });
  expect(JSON.stringify(seen, (_, value) => (typeof value === "bigint" ? "" : value))).not.toMatch(
    /ciphertext|inputHash/,
  );
  await expect.poll(async () => (await get("job-1"))?.state).toBe(JobState.COMPLETED);
  const again = await watched(jobs.watchJob(watching("job-1", 1n)));
  expect(again.map(({ type }) => type)).not.toContain("JobQueued");
});

test("a failed job tells why", async () => {
  const { jobs, take, get } = await as("acme");
  await take("job-fail", "fail");
  const seen = await watched(jobs.watchJob(watching("job-fail")));
  expect(seen.at(-1)?.state).toBe(JobState.FAILED);
  await expect.poll(async () => (await get("job-fail"))?.state).toBe(JobState.FAILED);
  expect((await get("job-fail"))?.failure).toMatchObject({ code: "unsupported-type" });
});

test("a running job is cancelled by its family, an ended one cannot be", async () => {
  const { jobs, take } = await as("acme");
  await take("job-wait", "wait");
  const stream = watched(jobs.watchJob(watching("job-wait")));
  await expect
    .poll(async () => (await jobs.getJob({ jobId: "job-wait", minPosition: 0n })).job?.state)
    .toBe(JobState.RUNNING);
  const asked = await jobs.cancelJob({ jobId: "job-wait", reason: "no longer needed" });
  expect(asked.position).toBeGreaterThan(0n);
  const seen = await stream;
  expect(seen.at(-1)).toMatchObject({ type: "JobCancelled", state: JobState.CANCELLED });
  await expect(jobs.cancelJob({ jobId: "job-wait", reason: "" })).rejects.toMatchObject({
    kind: "rejected",
    code: "job-ended",
  });
});

test("jobs of another tenant are not there", async () => {
  const mine = await as("acme");
  await mine.take("job-mine", "hello");
  const { jobs, events } = await as("other");
  const absent = { kind: "not-found", code: "job-not-found" };
  for (const jobId of ["job-mine", "job-nowhere"]) {
    await expect(jobs.getJob({ jobId, minPosition: 0n })).rejects.toMatchObject(absent);
    await expect(jobs.cancelJob({ jobId, reason: "" })).rejects.toMatchObject(absent);
    await expect(watched(jobs.watchJob(watching(jobId)))).rejects.toMatchObject(absent);
  }
  expect((await jobs.listJobs(everything)).jobs).toEqual([]);
  const all = {
    afterPosition: 0n,
    types: [],
    aggregate: "",
    aggregateId: "",
    fromNow: false,
    stopAtEnd: true,
  };
  for await (const _ of events.subscribe(all)) expect.fail("an event of another tenant");
});

test("lists are filtered, and paged without gaps or repeats", async () => {
  const { jobs, take } = await as("pages");
  for (let index = 0; index < 7; index += 1) await take(`page-${index}`, "hello");
  await expect
    .poll(
      async () =>
        (await jobs.listJobs({ ...everything, states: [JobState.COMPLETED] })).jobs.length,
    )
    .toBe(7);
  const found: Job[] = [];
  let pageToken = "";
  do {
    const page = await jobs.listJobs({ ...everything, pageSize: 3, pageToken });
    found.push(...page.jobs);
    pageToken = page.nextPageToken;
  } while (pageToken !== "");
  expect(found.map(({ jobId }) => jobId).toSorted()).toEqual(
    Array.from({ length: 7 }, (_, index) => `page-${index}`),
  );
  const times = found.map(({ queuedAt }) => queuedAt?.getTime() ?? 0);
  expect(times).toEqual(times.toSorted((left, right) => right - left));
  const count = async (filter: Partial<typeof everything>) =>
    (await jobs.listJobs({ ...everything, ...filter })).jobs.length;
  expect(await count({ family: "ssl", name: "note.take", siteId: "site-1", tag: "toy" })).toBe(7);
  expect(await count({ family: "backup" })).toBe(0);
  expect(await count({ tag: "other" })).toBe(0);
  const { nextPageToken } = await jobs.listJobs({ ...everything, pageSize: 3 });
  const elsewhere = jobs.listJobs({ ...everything, family: "ssl", pageToken: nextPageToken });
  await expect(elsewhere).rejects.toMatchObject({ kind: "invalid" });
  await expect(jobs.listJobs({ ...everything, pageSize: 501 })).rejects.toMatchObject({
    violations: [{ field: "page_size" }],
  });
});

test("a subscriber gets the past, then what happens, and goes on where it left", async () => {
  const { events, take } = await as("follower");
  await take("event-1", "first");
  const wish = {
    afterPosition: 0n,
    types: ["Noted"],
    aggregate: "",
    aggregateId: "",
    stopAtEnd: false,
    fromNow: false,
  };
  const positions: bigint[] = [];
  const texts: string[] = [];
  for await (const { event } of events.subscribe(wish)) {
    expect(event).toMatchObject({
      tenant: "follower",
      subject: "certificate/site-1",
      source: "ssl",
    });
    positions.push(event?.position ?? 0n);
    texts.push((JSON.parse(event?.dataJson ?? "{}") as { text: string }).text);
    if (texts.length === 1) await take("event-2", "second");
    else break;
  }
  expect(texts).toEqual(["first 5", "second 6"]);
  const rest: unknown[] = [];
  const resumed = { ...wish, afterPosition: positions[0] ?? 0n, stopAtEnd: true };
  for await (const { event } of events.subscribe(resumed)) rest.push(event?.position);
  expect(rest).toEqual([positions[1]]);
  const wrong = { ...wish, aggregateId: "site-1" };
  const read = async () => {
    for await (const _ of events.subscribe(wrong));
  };
  await expect(read()).rejects.toMatchObject({ violations: [{ field: "aggregate" }] });
});
