/** Chains and batches on the whole system. */
import {
  BatchSpec,
  ChainSpec,
  type FlowStep,
  SkipPolicy,
} from "@chom/proto/chom/scheduler/v1/flows";
import { afterAll, beforeAll, expect, test } from "vitest";
import { newId, startWorld, type World } from "./world.ts";

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
