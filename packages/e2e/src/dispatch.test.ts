/** Jobs asked for by name: checked like the family's own method, run with the options of the request. */
import { JobOptions } from "@chom/proto/chom/jobs/v1/control";
import { JobState } from "@chom/proto/chom/jobs/v1/jobs";
import { createClients } from "@chom/stack/clients";
import { type ServiceName, serviceNames } from "@chom/stack/service-process";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { newId, startWorld, type World } from "./world.ts";

let world: World;
beforeAll(async () => {
  world = await startWorld();
}, 120_000);
afterAll(() => world.stop(), 60_000);

const ask = (jobName: string, input: object, options = {}, requestId = newId("asked")) =>
  world.clients.dispatch.dispatchJob({
    ...{ requestId, jobName, inputJson: JSON.stringify(input), reason: "because" },
    options: JobOptions.fromPartial(options),
  });

async function endOf(jobId: string): Promise<JobState> {
  let state: JobState = JobState.UNSPECIFIED;
  for await (const entry of world.clients.watch(jobId)) state = entry.state;
  return state;
}

test("a job asked for by name runs with the queue and tags of the request", async () => {
  const { jobId, accepted } = await ask("backup.clean", {}, { queue: "high", tags: ["weekly"] });
  expect(accepted).toBe(true);
  expect(await endOf(jobId)).toBe(JobState.COMPLETED);
  const { job } = await world.clients.jobs.getJob({ jobId, minPosition: 0n });
  expect(job).toMatchObject({ name: "backup.clean", queue: "high", tags: ["weekly"] });
});

test("case 50: the same request twice is one job, another under its id is refused", async () => {
  const requestId = newId("twice");
  const first = await ask("backup.clean", {}, { tags: ["a"] }, requestId);
  expect((await ask("backup.clean", {}, { tags: ["a"] }, requestId)).jobId).toBe(first.jobId);
  await expect(ask("backup.clean", {}, { tags: ["b"] }, requestId)).rejects.toMatchObject({
    code: "already-exists",
  });
});

test("a delayed job waits for its time", async () => {
  const notBefore = new Date(Date.now() + 3_600_000);
  const { jobId, position } = await ask("backup.clean", {}, { notBefore });
  const { job } = await world.clients.jobs.getJob({ jobId, minPosition: position });
  expect(job).toMatchObject({ state: JobState.SCHEDULED, dueAt: notBefore });
});

test("what the family refuses is told to the caller, as an event too", async () => {
  const requestId = newId("refused");
  const input = { siteId: "absent-site", kind: "BACKUP_KIND_FULL" };
  await expect(ask("backup.create", input, {}, requestId)).rejects.toMatchObject({
    kind: "not-found",
  });
  const isMine = ({ jobId }: { jobId?: unknown }) => jobId === requestId;
  expect(await world.feed.until("JobRefused", 10_000, isMine)).toMatchObject({
    ...{ family: "backup", jobName: "backup.create", failure: { kind: "not-found" } },
  });
});

test.for([
  ["an unknown job", "backup.everything", {}, "job_name"],
  ["an unknown field", "backup.create", { sight: "x" }, "input_json"],
  ["a field that the method refuses", "backup.create", { siteId: "A;b" }, "site_id"],
] as const)("%s is refused with the field named", async ([, jobName, input, field]) => {
  await expect(ask(jobName, input)).rejects.toMatchObject({
    kind: "invalid",
    violations: expect.arrayContaining([expect.objectContaining({ field })]),
  });
});

test("whoever may not call the method may not start its job by name", async () => {
  const { stack } = world;
  const addresses = Object.fromEntries(
    serviceNames.map((name) => [name, stack.services[name].address]),
  ) as Record<ServiceName, string>;
  const token = await stack.token("acme", { permissions: ["job.dispatch"] });
  const limited = createClients(addresses, stack.caPem, token);
  onTestFinished(limited.close);
  const wish = { requestId: newId("not-mine"), jobName: "backup.clean", inputJson: "{}" };
  await expect(
    limited.dispatch.dispatchJob({ ...wish, options: undefined, reason: "" }),
  ).rejects.toMatchObject({ code: "not-permitted" });
});
