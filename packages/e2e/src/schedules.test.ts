/** Schedules on the whole system: ticks fire jobs once each, are told, paused, and survive their scheduler. */
import { OverlapPolicy, ScheduleSpec, type Tick } from "@chom/proto/chom/scheduler/v1/schedules";
import { afterAll, beforeAll, expect, test } from "vitest";
import { newId, startWorld, type World } from "./world.ts";

let world: World;
beforeAll(async () => {
  world = await startWorld({ settings: { scheduler: { CHOM_SCHEDULE_EVERY: "100ms" } } });
}, 120_000);
afterAll(() => world.stop(), 60_000);

const create = (spec: Partial<ScheduleSpec>) =>
  world.clients.schedules.createSchedule({
    requestId: newId("schedule"),
    spec: ScheduleSpec.fromPartial({ jobName: "backup.clean", ...spec }),
  });

const ticksOf = async (scheduleId: string): Promise<readonly Tick[]> =>
  (await world.clients.schedules.listTicks({ scheduleId, pageSize: 500, pageToken: "" })).ticks;

async function until(holds: () => Promise<boolean>, withinMs = 30_000): Promise<void> {
  const deadline = Date.now() + withinMs;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error("it does not come true");
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

const firedIn = (ticks: readonly Tick[]) => ticks.filter(({ outcome }) => outcome === "fired");

test("case 62: each planned second is recorded once and fires one job, also when the scheduler is killed", async () => {
  const { scheduleId } = await create({
    ...{ name: "each-second", everySeconds: 1n, overlap: OverlapPolicy.ALLOW },
  });
  await until(async () => firedIn(await ticksOf(scheduleId)).length >= 3);
  await world.stack.services.scheduler.kill();
  await new Promise((resolve) => setTimeout(resolve, 2_500));
  await world.stack.services.scheduler.restart();
  await until(async () => firedIn(await ticksOf(scheduleId)).length >= 8, 60_000);
  await world.clients.schedules.pauseSchedule({ scheduleId, reason: "enough", until: undefined });
  const ticks = await ticksOf(scheduleId);
  const planned = ticks.map(({ firstAt }) => Number(firstAt)).toSorted((a, b) => a - b);
  // One after another, none left out, none twice: what came late after the restart fired too.
  const steps = planned.slice(1).map((at, index) => at - (planned[index] ?? 0));
  expect(new Set(steps)).toEqual(new Set([1_000]));
  await until(async () => {
    const { jobs } = await world.clients.jobs.listJobs({ ...everything, scheduleId });
    const fired = firedIn(await ticksOf(scheduleId)).map(({ jobId }) => jobId);
    return jobs.length === fired.length && jobs.every(({ jobId }) => fired.includes(jobId));
  });
}, 120_000);

const everything = {
  ...{ family: "", name: "", states: [], siteId: "", serverId: "", tag: "", queue: "" },
  ...{ queuedAfter: undefined, queuedBefore: undefined, pageSize: 500, pageToken: "" },
  ...{ endedAfter: undefined, endedBefore: undefined, failureCode: "", chainId: "", batchId: "" },
  ...{ scheduleId: "", idPrefix: "", includeForgotten: false, minPosition: 0n },
};

test("a paused schedule records its ticks as skipped, with the reason, and resumes", async () => {
  const { scheduleId, position } = await create({ name: "paused", everySeconds: 1n });
  await world.clients.schedules.pauseSchedule({ scheduleId, reason: "later", until: undefined });
  await until(async () => (await ticksOf(scheduleId)).some(({ reason }) => reason === "paused"));
  const shown = await world.clients.schedules.getSchedule({ scheduleId, minPosition: position });
  expect(shown.schedule).toMatchObject({ paused: true, pauseReason: "later" });
  await world.clients.schedules.resumeSchedule({ scheduleId, reason: "" });
  await until(async () => firedIn(await ticksOf(scheduleId)).length > 0);
  await world.clients.schedules.removeSchedule({ scheduleId, reason: "" });
  await expect(
    world.clients.schedules.resumeSchedule({ scheduleId, reason: "" }),
  ).rejects.toMatchObject({ kind: "not-found" });
});

test("a run beside the plan starts the job once for one request", async () => {
  const at = new Date(Date.now() + 86_400_000);
  const { scheduleId } = await create({ name: "later", at });
  const requestId = newId("now");
  const first = await world.clients.schedules.runSchedule({ scheduleId, requestId });
  expect(await world.clients.schedules.runSchedule({ scheduleId, requestId })).toEqual(first);
  for await (const entry of world.clients.watch(first.jobId)) void entry;
  await until(async () => (await ticksOf(scheduleId)).length === 1);
  const [tick] = await ticksOf(scheduleId);
  expect(tick).toMatchObject({ outcome: "fired", reason: "asked by demo", jobId: requestId });
});

test("the four recommended schedules are there for the platform, and for nobody else", async () => {
  const platform = await world.as("platform");
  const page = { pageSize: 0, pageToken: "", minPosition: 0n };
  await until(async () => (await platform.schedules.listSchedules(page)).schedules.length === 4);
  const { schedules } = await platform.schedules.listSchedules(page);
  const plans = schedules.map(({ spec }) => [spec?.name, spec?.cron, spec?.jobName]);
  expect(plans.toSorted()).toEqual([
    ["backup-clean", "0 3 * * SUN", "backup.clean"],
    ["database-backup", "0 2 * * *", "backup.database"],
    ["queue-monitor", "*/5 * * * *", "monitor"],
    ["secrets-rotate", "0 4 * * *", "key.rotate-due"],
  ]);
  const other = await world.as("other");
  expect((await other.schedules.listSchedules(page)).schedules).toEqual([]);
});

test.for([
  ["no time", {}, "spec"],
  ["two times", { cron: "@daily", everySeconds: 5n }, "spec"],
  ["no pattern", { cron: "every day" }, "spec.cron"],
  ["an unknown zone", { cron: "@daily", zone: "Mars/Olympus" }, "spec.zone"],
  ["an unknown job", { cron: "@daily", jobName: "backup.everything" }, "spec.job_name"],
  ["an input that is none", { cron: "@daily", inputJson: '{"sight":1}' }, "spec.input_json"],
  ["a name that is none", { cron: "@daily", name: "A B" }, "spec.name"],
] as const)("%s is refused with the field named", async ([, spec, field]) => {
  await expect(create({ name: "bad", ...spec })).rejects.toMatchObject({
    kind: "invalid",
    violations: expect.arrayContaining([expect.objectContaining({ field })]),
  });
});
