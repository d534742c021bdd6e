/** Chains and batches on the whole system. */
import { FailedJobOutcome, JobState, WatchJobsRequest } from "@chom/proto/chom/jobs/v1/jobs";
import {
  BatchSpec,
  ChainSpec,
  type FlowStep,
  SkipPolicy,
} from "@chom/proto/chom/scheduler/v1/flows";
import { type Vps, vpsSupport } from "@chom/stack/vps";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { jobTimeoutMs, newId, startWorld, type World } from "./world.ts";

let world: World;
beforeAll(async () => {
  world = await startWorld();
}, 120_000);
afterAll(() => world.stop(), 60_000);

async function until<T>(read: () => Promise<T>, holds: (value: T) => boolean, withinMs = 40_000) {
  const deadline = Date.now() + withinMs;
  for (;;) {
    const value = await read();
    if (holds(value)) return value;
    if (Date.now() > deadline) throw new Error(`it stays ${JSON.stringify(value)}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** A job that ends well, and one that its family refuses. */
const good: Partial<FlowStep> = { jobName: "backup.clean", inputJson: "{}" };
const bad: Partial<FlowStep> = {
  jobName: "backup.create",
  inputJson: '{"siteId":"absent-site","kind":"BACKUP_KIND_FULL"}',
};

const chainOf = async (spec: object) => {
  const { chainId, position } = await world.clients.flows.createChain({
    ...{ requestId: newId("chain"), spec: ChainSpec.fromPartial(spec) },
  });
  const read = async () =>
    (await world.clients.flows.getChain({ chainId, minPosition: position })).chain;
  return { chainId, read };
};
const batchOf = async (spec: object, more = {}) => {
  const { batchId, position } = await world.clients.flows.createBatch({
    ...{ requestId: newId("batch"), spec: BatchSpec.fromPartial(spec), moreFollow: false, ...more },
  });
  const read = async () =>
    (await world.clients.flows.getBatch({ batchId, minPosition: position })).batch;
  return { batchId, read };
};
const events = (name: string, subject: string) =>
  world.feed.seen.filter(({ type, subject: of }) => type.endsWith(`.${name}`) && of === subject);

const everything = {
  ...{ family: "", name: "", states: [], siteId: "", serverId: "", tag: "", queue: "" },
  ...{ queuedAfter: undefined, queuedBefore: undefined, pageSize: 500, pageToken: "" },
  ...{ endedAfter: undefined, endedBefore: undefined, failureCode: "", chainId: "", batchId: "" },
  ...{ scheduleId: "", idPrefix: "", includeForgotten: false, minPosition: 0n },
};

/** The jobs of a flow that the read model shows as ended; it may be behind the flow itself. */
const endedOf = (wish: { chainId?: string; batchId?: string }) => async () =>
  (await world.clients.jobs.listJobs({ ...everything, ...wish })).jobs.filter(
    ({ endedAt }) => endedAt,
  );

test("a chain runs its links one after another, on the chain's queue", async () => {
  const { chainId, read } = await chainOf({
    name: "three",
    links: [good, good, good],
    queue: "high",
  });
  await until(read, (chain) => chain?.status === "completed");
  const jobs = await until(endedOf({ chainId }), ({ length }) => length === 3);
  expect(jobs.map(({ queue }) => queue)).toEqual(["high", "high", "high"]);
  const times = jobs
    .toReversed()
    .flatMap(({ queuedAt, endedAt }) => [Number(queuedAt), Number(endedAt)]);
  expect(times).toEqual(times.toSorted((a, b) => a - b));
});

test("a link that fails ends the chain, calls catch once, and the rest is never asked for", async () => {
  const { chainId, read } = await chainOf({ links: [good, bad, good], catch: good });
  expect(await until(read, (chain) => chain?.status === "failed")).toMatchObject({ position: 1 });
  const called = async () =>
    (await world.clients.jobs.listJobs(everything)).jobs.filter(
      ({ actor, batchId, chainId: of }) => actor !== "" && of === "" && batchId === "",
    );
  await until(called, (jobs) => jobs.length === 1);
  await until(
    async () => events("ChainFailed", `chain/${chainId}`).length,
    (count) => count > 0,
  );
  expect(events("ChainFailed", `chain/${chainId}`)).toHaveLength(1);
  await until(endedOf({ chainId }), ({ length }) => length === 1);
});

test("a batch whose jobs end well completes, then finishes", async () => {
  const { batchId, read } = await batchOf({ name: "five", jobs: [good, good, good, good, good] });
  expect(await until(read, (batch) => batch?.status === "finished")).toMatchObject({
    ...{ jobsCount: 5, completedCount: 5, percent: 100 },
  });
  await until(
    async () => events("BatchFinished", `batch/${batchId}`).length,
    (count) => count === 1,
  );
  expect(events("BatchCompleted", `batch/${batchId}`)).toHaveLength(1);
});

test("a batch starts then, catch and finally once each, when their time has come, on its queue", async () => {
  const callbacks = { then: good, catch: good, finally: good };
  const reasons = async (batchId: string) => {
    const mine = new Set(
      world.feed.seen.filter(({ subject }) => subject === `batch/${batchId}`).map(({ id }) => id),
    );
    const requests = world.feed.seen.filter(
      ({ type, causationId }) => type.endsWith(".JobRequested") && mine.has(causationId),
    );
    return {
      requests: requests.map(
        ({ dataJson }) => JSON.parse(dataJson) as { reason: string; options?: { queue?: string } },
      ),
    };
  };
  const fine = await batchOf({ name: "fine", queue: "low", jobs: [good, good], ...callbacks });
  await until(fine.read, (batch) => batch?.status === "finished");
  const called = await until(
    () => reasons(fine.batchId),
    ({ requests }) => requests.length === 2,
  );
  expect(called.requests.map(({ reason }) => reason.split(" ")[0]).toSorted()).toEqual([
    "finally",
    "then",
  ]);
  expect(called.requests.map(({ options }) => options?.queue)).toEqual(["low", "low"]);
  const jobs = await until(endedOf({ batchId: fine.batchId }), ({ length }) => length === 2);
  expect(jobs.map(({ queue }) => queue)).toEqual(["low", "low"]);
  const broken = await batchOf({ name: "broken", jobs: [bad], ...callbacks });
  await until(broken.read, (batch) => batch?.status === "finished");
  const told = await until(
    () => reasons(broken.batchId),
    ({ requests }) => requests.length === 2,
  );
  expect(told.requests.map(({ reason }) => reason.split(" ")[0]).toSorted()).toEqual([
    "catch",
    "finally",
  ]);
});

test("an empty batch finishes at once", async () => {
  const { read } = await batchOf({ jobs: [] });
  await until(read, (batch) => batch?.status === "finished");
});

test("a failed job cancels the rest of its batch, unless failures are allowed", async () => {
  const later = { ...good, options: { notBefore: new Date(Date.now() + 3_600_000) } };
  const strict = await batchOf({ jobs: [bad, later] });
  expect(await until(strict.read, (batch) => batch?.status === "finished")).toMatchObject({
    ...{ failedCount: 1, cancelledCount: 1, cancelled: true },
  });
  const lenient = await batchOf({ jobs: [bad, good], allowFailures: true });
  expect(await until(lenient.read, (batch) => batch?.status === "finished")).toMatchObject({
    ...{ failedCount: 1, completedCount: 1, cancelled: false },
  });
  expect(events("BatchCompleted", `batch/${lenient.batchId}`)).toEqual([]);
});

test("a batch takes more jobs until it is told that none follow", async () => {
  const { batchId, read } = await batchOf({ jobs: [good] }, { moreFollow: true });
  await until(read, (batch) => batch?.completedCount === 1);
  expect((await read())?.status).toBe("running");
  const more = {
    batchId,
    requestId: newId("more"),
    jobs: [{ ...stepOf(good) }],
    moreFollow: false,
  };
  const { position } = await world.clients.flows.addToBatch(more);
  expect(await world.clients.flows.addToBatch(more)).toEqual({ position });
  expect(await until(read, (batch) => batch?.status === "finished")).toMatchObject({
    jobsCount: 2,
  });
});
const stepOf = (step: Partial<FlowStep>): FlowStep =>
  ChainSpec.fromPartial({ links: [step] }).links[0] as FlowStep;

test("a chain may hold a batch, and a batch chains", async () => {
  const outer = await chainOf({ links: [good, { batch: { jobs: [good, good] } }, good] });
  await until(outer.read, (chain) => chain?.status === "completed");
  const batch = await batchOf({ jobs: [{ chain: { links: [good, good] } }, good] });
  expect(await until(batch.read, (found) => found?.status === "finished")).toMatchObject({
    completedCount: 2,
  });
});

test("a cancelled chain cancels the link that runs and starts no other", async () => {
  const later = { ...good, options: { notBefore: new Date(Date.now() + 3_600_000) } };
  const { chainId, read } = await chainOf({ links: [later, good] });
  const ofChain = async () => (await world.clients.jobs.listJobs({ ...everything, chainId })).jobs;
  await until(ofChain, (jobs) => jobs.length === 1);
  await world.clients.flows.cancelChain({ chainId, reason: "no need" });
  await until(ofChain, ([job]) => job?.state === "JOB_STATE_CANCELLED");
  await until(read, (chain) => chain?.status === "cancelled");
});

test("a chain of another tenant is not found, and bad steps are named", async () => {
  const { chainId } = await chainOf({ links: [good] });
  const other = await world.as("other");
  await expect(other.flows.getChain({ chainId, minPosition: 0n })).rejects.toMatchObject({
    kind: "not-found",
  });
  await expect(chainOf({ links: [] })).rejects.toMatchObject({
    violations: [{ field: "spec.links", description: expect.any(String) }],
  });
  await expect(
    chainOf({ links: [good, { jobName: "backup.everything" }], onSkip: SkipPolicy.STOP }),
  ).rejects.toMatchObject({
    violations: [{ field: "spec.links[1].job_name", description: expect.any(String) }],
  });
});

const support = await vpsSupport();
if (!support.ok) console.log(`skipped: chains on a real server: ${support.reason}`);

describe.skipIf(!support.ok)("chains on a real server", () => {
  let vps: Vps;
  let serverId: string;
  let siteId: string;
  beforeAll(async () => {
    ({ vps, serverId } = await world.addServer());
  });

  const stateOf = (jobId: string) => async () =>
    (await world.clients.jobs.getJob({ jobId, minPosition: 0n })).job?.state;
  const backup = (more: Partial<FlowStep> = {}): Partial<FlowStep> => ({
    jobName: "backup.create",
    inputJson: JSON.stringify({ siteId, kind: "BACKUP_KIND_FILES" }),
    ...more,
  });
  /** The old names of what the journal tells of a job, in their order. */
  async function queueEvents(jobId: string, types: readonly string[]): Promise<string[]> {
    const found = [];
    const wish = { stopAtEnd: true, types: [...types] };
    const entries = world.clients.jobs.watchJobs(WatchJobsRequest.fromPartial(wish));
    for await (const entry of entries) if (entry.jobId === jobId) found.push(entry.queueEvent);
    return found;
  }

  test("a chain provisions a site, secures it and backs it up: later links know the site of the first", async () => {
    const domain = "chained.chom.test";
    await world.stack.pebble.addAddress(domain, vps.address);
    const site = { domain, serverId, kind: "SITE_KIND_STATIC" };
    const links = [
      { jobName: "site.provision", inputJson: JSON.stringify(site) },
      { jobName: "certificate.issue", inputJson: '{"siteId":"$site"}' },
      { jobName: "backup.create", inputJson: '{"siteId":"$site","kind":"BACKUP_KIND_FULL"}' },
    ];
    const { chainId, read } = await chainOf({ name: "new site", links });
    const ended = await until(read, (chain) => chain?.status !== "running", jobTimeoutMs);
    expect(ended).toMatchObject({ status: "completed", position: 2 });
    const jobs = await until(endedOf({ chainId }), ({ length }) => length === 3);
    expect(jobs.map(({ name }) => name).toReversed()).toEqual(links.map(({ jobName }) => jobName));
    siteId = jobs[0]?.siteId ?? "";
    expect(siteId).not.toBe("");
    expect(new Set(jobs.map((job) => job.siteId))).toEqual(new Set([siteId]));
    for (const fact of ["SiteProvisioned", "CertificateIssued", "BackupCompleted"]) {
      await world.feed.until(fact, jobTimeoutMs, (data) => data["siteId"] === siteId);
    }
  });

  test("a link that needs a person parks its chain, and ResumeJob lets it go on", async () => {
    const place = await world.feed.until("SiteProvisioned", 1_000, (of) => of["siteId"] === siteId);
    const locked = `${String(place["rootPath"])}/public/locked`;
    await vps.exec(["sh", "-c", `mkdir "$1" && chmod 0700 "$1" && : >"$1/f"`, "sh", locked]);
    const { chainId, read } = await chainOf({ links: [backup(), good] });
    const jobId = (await until(read, (chain) => chain?.jobId !== ""))?.jobId ?? "";
    // Its family may not have been asked yet, so it may not be there.
    const state = () => stateOf(jobId)().catch(() => undefined);
    await until(state, (of) => of === JobState.PARKED, jobTimeoutMs);
    expect(await read()).toMatchObject({ chainId, status: "running", position: 0 });
    await vps.exec(["rm", "-r", locked]);
    await world.clients.jobs.resumeJob({ jobId, reason: "the folder is gone" });
    await until(read, (chain) => chain?.status === "completed", jobTimeoutMs);
    await until(stateOf(jobId), (of) => of === JobState.COMPLETED);
  });

  test("a failed link that is retried lets its chain go on, and each exception was told", async () => {
    const options = { tries: 2, backoffMs: [1_000n] };
    await vps.cutNetwork();
    const made = await chainOf({ links: [backup({ options } as never), good] }).catch(
      async (error: unknown) => {
        await vps.restoreNetwork();
        throw error;
      },
    );
    const failed = await until(made.read, (of) => of?.status === "failed", jobTimeoutMs).finally(
      () => vps.restoreNetwork(),
    );
    expect(failed).toMatchObject({ position: 0 });
    const jobId = failed?.jobId ?? "";
    await until(stateOf(jobId), (of) => of === JobState.FAILED);
    const types = ["JobExceptionOccurred", "JobFailed"];
    expect(await queueEvents(jobId, types)).toEqual(types);
    const retry = {
      jobs: { jobIds: [jobId], filter: undefined, all: false },
      reason: "it is back",
    };
    for await (const { progress } of world.clients.jobs.retryJobs(retry)) {
      for (const { outcome } of progress?.results ?? []) {
        expect(outcome).toBe(FailedJobOutcome.REQUESTED);
      }
    }
    await until(made.read, (of) => of?.status === "completed", jobTimeoutMs);
    const failures = async () => events("ChainFailed", `chain/${made.chainId}`).length;
    await until(failures, (count) => count === 1);
  });
});

test("a scheduler killed in the middle of flows: each ends once", async () => {
  const chained = await chainOf({ name: "survives", links: [good, good, good] });
  const batched = await batchOf({ name: "survives", jobs: [good, good, good], finally: good });
  await world.stack.services.scheduler.kill();
  await world.stack.services.scheduler.restart();
  // Calls on a line that was cut fail until it is open again.
  const calm =
    <T>(read: () => Promise<T>) =>
    () =>
      read().catch(() => undefined);
  await until(calm(chained.read), (chain) => chain?.status === "completed", 120_000);
  await until(calm(batched.read), (batch) => batch?.status === "finished", 120_000);
  const jobs = await until(endedOf({ chainId: chained.chainId }), ({ length }) => length === 3);
  expect(new Set(jobs.map(({ state }) => state))).toEqual(new Set([JobState.COMPLETED]));
  await until(endedOf({ batchId: batched.batchId }), ({ length }) => length === 3);
  // The feed died with the process that fed it: another reads all that was told.
  const told = async () => {
    const seen = [];
    for await (const { type, subject } of world.clients.past()) {
      seen.push(`${type.slice(type.lastIndexOf(".") + 1)} ${subject}`);
    }
    return seen.filter((line) => line.endsWith(chained.chainId) || line.endsWith(batched.batchId));
  };
  const ends = [
    `ChainCompleted chain/${chained.chainId}`,
    `BatchCompleted batch/${batched.batchId}`,
    `BatchFinished batch/${batched.batchId}`,
  ];
  const seen = await until(told, (lines) => ends.every((line) => lines.includes(line)));
  for (const line of ends) expect(seen.filter((each) => each === line)).toEqual([line]);
  const started = seen.filter((line) => line.startsWith("ChainLinkStarted"));
  expect(started).toHaveLength(3);
});
