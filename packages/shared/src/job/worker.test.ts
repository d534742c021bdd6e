import { expect, test } from "vitest";
import { aggregate } from "../aggregate/aggregate.ts";
import { eventTypes } from "../aggregate/event-types.ts";
import { settled } from "../testing/fake-clock.ts";
import { memoryEngine, memoryWorld } from "../testing/memory-engine.ts";
import { createDispatch } from "./dispatch.ts";
import type { Engine } from "./engine.ts";
import { job, type Queue } from "./job.ts";
import { noLimits, type WorkLimits } from "./work-limits.ts";
import type { WorkReport } from "./work-report.ts";
import { startWorkers } from "./worker.ts";

type Wish = { id: string; doing: string };
const codec = (name: string) => ({
  $type: `test.v1.${name}`,
  fromJSON: (json: Partial<Wish>): Wish => ({ id: json.id ?? "", doing: json.doing ?? "" }),
  toJSON: (wish: Wish): unknown => wish,
});
const happened = eventTypes({ Ended: codec("Ended") });
const things = aggregate({
  name: "backups",
  events: happened,
  initial: () => ({}),
  evolve: { Ended: (state: object) => state },
  commands: {
    end: (_: object, { input }: { input: Wish }) => happened.Ended(input),
  },
});

/** Doing `deaf` never ends, not even when it is aborted; `wait` ends when it is aborted or freed. */
function setup(limits: Partial<WorkLimits> = {}, concurrency = 2) {
  const world = memoryWorld();
  const reports: WorkReport[] = [];
  const order: string[] = [];
  let free = () => {};
  const freed = new Promise<void>((resolve) => {
    free = resolve;
  });
  const made = job(things, {
    name: "backup.thing",
    input: codec("Input"),
    of: ({ id }) => id,
    ...({ done: "end", failed: "end", cancelled: "end" } as const),
    ...{ queue: "default" as const, tries: 3, timeoutMs: 600_000, backoffMs: [60_000] },
    async work({ id, doing }, run) {
      order.push(id);
      if (doing === "fail") throw new Error("broken");
      if (doing === "deaf") await new Promise(() => {});
      if (doing === "wait") {
        const aborted = new Promise<never>((_, reject) =>
          run.signal.addEventListener("abort", () => reject(run.signal.reason)),
        );
        await Promise.race([freed, aborted]);
      }
      return undefined;
    },
  });
  const report = (each: WorkReport) => void reports.push(each);
  const around = (engine: Engine): Engine => ({ ...engine, report, attemptMaxMs: 300_000 });
  const { engine } = memoryEngine([made], { world, around });
  let held = 0;
  const start = () =>
    startWorkers({
      engine,
      concurrency,
      limits: { ...noLimits, ...limits },
      memoryBytes: () => held,
    });
  const send = (id: string, doing = "work", queue: Queue = "default") =>
    createDispatch(engine)({
      ...{ job: made, jobId: id, tenant: "tenant-1", actor: "tester", input: { id, doing } },
      options: { queue },
    });
  return { world, reports, order, free, start, send, hold: (bytes: number) => (held = bytes) };
}

/** Lets real turns pass and moves the clock in small steps until something holds. */
async function until(
  { world }: Pick<ReturnType<typeof setup>, "world">,
  holds: () => boolean,
): Promise<void> {
  for (let round = 0; !holds(); round += 1) {
    if (round > 2_000) throw new Error("it does not come true");
    await world.clock.advance(100);
  }
}
const over = <T>(promise: Promise<T>) => {
  const seen: { value?: T; done: boolean } = { done: false };
  void promise.then((value) => Object.assign(seen, { value, done: true }));
  return seen;
};

test("stop-when-empty does what is there, in every listed queue, and ends", async () => {
  const here = setup({ stopWhenEmpty: true });
  await here.send("a", "work", "low");
  await here.send("b", "work", "high");
  const ended = over(here.start().ended);
  await until(here, () => ended.done);
  expect(ended.value).toBe("empty");
  expect(here.order).toEqual(["b", "a"]);
});

test("queues are asked in the listed order, and others are left alone", async () => {
  const here = setup({ stopWhenEmpty: true, queues: ["low", "high"] }, 1);
  await here.send("high", "work", "high");
  await here.send("default", "work", "default");
  await here.send("low", "work", "low");
  const ended = over(here.start().ended);
  await until(here, () => ended.done);
  expect(here.order).toEqual(["low", "high"]);
});

test("max-jobs counts what was taken, failures too, and lets it end", async () => {
  const here = setup({ maxJobs: 2 });
  for (const id of ["a", "b", "c"]) await here.send(id, id === "a" ? "fail" : "work");
  const ended = over(here.start().ended);
  await until(here, () => ended.done);
  expect(ended.value).toBe("max-jobs");
  expect(here.order.toSorted()).toEqual(["a", "b"]);
});

test("max-time ends an idle worker, and a busy one only after its job", async () => {
  const idle = setup({ maxTimeMs: 5_000 });
  const first = over(idle.start().ended);
  await until(idle, () => first.done);
  expect(first.value).toBe("max-time");

  const busy = setup({ maxTimeMs: 5_000 });
  await busy.send("a", "wait");
  const second = over(busy.start().ended);
  await busy.world.clock.advance(20_000);
  expect(second.done).toBe(false);
  busy.free();
  await until(busy, () => second.done);
  expect(busy.reports.at(-1)).toMatchObject({ work: "job-ended", outcome: "completed" });
});

test("memory ends a worker between jobs", async () => {
  const here = setup({ memoryBytes: 1_000 });
  const ended = over(here.start().ended);
  await here.world.clock.advance(5_000);
  expect(ended.done).toBe(false);
  here.hold(1_000);
  await until(here, () => ended.done);
  expect(ended.value).toBe("memory");
});

test("a paused worker takes nothing and lets its jobs go on; resumed it takes again", async () => {
  const here = setup({}, 2);
  await here.send("a", "wait");
  const workers = here.start();
  await until(here, () => here.order.includes("a"));
  workers.pause();
  await here.send("b");
  await here.world.clock.advance(10_000);
  expect(here.order).toEqual(["a"]);
  here.free();
  await until(here, () => workers.running() === 0);
  workers.resume();
  await until(here, () => here.order.includes("b"));
  const switches = here.reports.flatMap(({ work }) => (work.startsWith("worker-") ? [work] : []));
  expect(switches).toEqual(["worker-paused", "worker-resumed"]);
  const stopped = over(workers.stop(0));
  await until(here, () => stopped.done);
});

test("stopping is bounded although every place is taken by a job that never ends", async () => {
  const here = setup({}, 1);
  await here.send("a", "deaf");
  const workers = here.start();
  await until(here, () => here.order.length === 1);
  await settled();
  const stopped = over(workers.stop(2_000));
  await here.world.clock.advance(2_000 + 15_000);
  expect(stopped.done).toBe(true);
});

test("a worker's cap shortens an attempt that its job would let run longer", async () => {
  const here = setup({}, 1);
  await here.send("a", "wait");
  const workers = here.start();
  await until(here, () => here.order.length === 1);
  await here.world.clock.advance(300_000);
  await until(here, () => here.reports.length >= 2);
  expect(here.reports.slice(0, 2)).toMatchObject([
    { work: "job-started", jobId: "a", job: "backup.thing", queue: "default", attempt: 1 },
    { work: "job-ended", jobId: "a", outcome: "retrying", code: "attempt-timeout" },
  ]);
  const stopped = over(workers.stop(0));
  await until(here, () => stopped.done);
});
