import { expect, test } from "vitest";
import { transient } from "../failure/failure.ts";
import { memoryWorld, plainSealer } from "../testing/memory-engine.ts";
import { scanFamily } from "../testing/scan-family.ts";
import { deliver } from "./deliver.ts";

const never = new AbortController().signal;

test("work that does not heed its cancel is abandoned after a time of grace, fenced, and undone", async () => {
  const world = memoryWorld();
  const undone: string[] = [];
  let late: Promise<unknown> = Promise.resolve();
  const late0 = Promise.withResolvers<void>();
  const host = scanFamily(
    async (_, run) => {
      await run.step("made", async () => "made", { undo: async (made) => void undone.push(made) });
      await late0.promise;
      late = run.step("too late", async () => "late").catch((error: unknown) => error);
      return "never";
    },
    { exclusive: () => ["site.site-1"] },
    { world },
  );
  await host.send();
  const [delivery] = world.queue.ready(1);
  if (!delivery) throw new Error("an item is expected");
  const running = deliver(host.engine, delivery, never);
  await world.clock.advance(1_000);
  await host.control("cancel");
  await world.clock.advance(2_000);
  expect((await host.names()).at(-1)).toBe("JobCancelAcknowledged");
  await world.clock.advance(11_000);
  await running;
  expect((await host.names()).slice(-6)).toEqual([
    "JobCancelRequested",
    "JobCancelAcknowledged",
    "JobCancelEscalated",
    "JobStarted",
    "StepUndone",
    "JobCancelled",
  ]);
  expect(undone).toEqual(["made"]);
  expect((await host.state("job-1")).end?.name).toBe("JobCancelled");
  // It may still be at work: its leases end by themselves.
  expect(await world.leases.held("tenant-1.site.site-1")).toBeDefined();
  late0.resolve();
  await host.runToEnd();
  expect(await late).toBeInstanceOf(Error);
  expect((await host.names()).at(-1)).toBe("JobCancelled");
  expect(await host.facts()).toEqual(["Begun x", "Dropped because"]);
});

test("a job that waits between attempts is acknowledged, undone and ends cancelled", async () => {
  const undone: string[] = [];
  const host = scanFamily(async (_, run) => {
    await run.step("made", async () => "made", { undo: async (made) => void undone.push(made) });
    throw transient("repo-unavailable", "down");
  });
  await host.send();
  await host.runReady();
  await host.control("cancel");
  await host.runToEnd();
  expect((await host.names()).slice(3)).toEqual([
    "JobAttemptFailed",
    "JobCancelRequested",
    "JobStarted",
    "JobCancelAcknowledged",
    "StepUndone",
    "JobCancelled",
  ]);
  expect(undone).toEqual(["made"]);
});

test("a job whose input cannot be opened ends cancelled, queued or parked", async () => {
  let isReadable = true;
  const sealer = {
    ...plainSealer,
    open: (...given: Parameters<typeof plainSealer.open>) => {
      if (!isReadable) throw new Error("the key is gone");
      return plainSealer.open(...given);
    },
  };
  const around = (engine: ReturnType<typeof scanFamily>["engine"]) => ({ ...engine, sealer });
  const host = scanFamily(
    async (_, run) => {
      await run.step("one", async () => 1);
      throw transient("repo-unavailable", "down");
    },
    {},
    { around },
  );
  await host.send("job-1");
  isReadable = false;
  await host.runReady();
  expect((await host.names("job-1")).at(-1)).toBe("JobParked");
  await host.control("cancel", "job-1", "wish-1");
  expect((await host.names("job-1")).slice(-2)).toEqual(["JobCancelRequested", "JobCancelled"]);
  isReadable = true;
  await host.send("job-2");
  await host.runReady();
  isReadable = false;
  await host.control("cancel", "job-2", "wish-2");
  await host.runToEnd();
  expect((await host.names("job-2")).slice(-3)).toEqual([
    "JobCancelRequested",
    "JobCancelAcknowledged",
    "JobCancelled",
  ]);
});

test("a bug fails its job after so many exceptions, deferrals not counted", async () => {
  let times = 0;
  const host = scanFamily(
    async (_, run) => {
      times += 1;
      if (times === 2) return run.defer({ minutes: 1 }, "not yet") as never;
      throw new TypeError("x is not a function");
    },
    { tries: 50 },
  );
  await host.send("job-1", "x", { maxExceptions: 2 });
  await host.runToEnd();
  expect(await host.names()).toEqual([
    "JobQueued",
    "JobStarted",
    "JobAttemptFailed",
    "JobStarted",
    "JobDeferred",
    "JobStarted",
    "JobFailed",
  ]);
  expect((await host.facts()).at(-1)).toBe("Failed unexpected true 2");
});

test("an item without a job is put away for a person, and no job comes of it", async () => {
  const host = scanFamily(async () => "fine");
  const item = { family: "backup", queue: "default", tenant: "tenant-1", jobId: "ghost" } as const;
  await host.world.queue.publish(item, 1);
  await host.runToEnd();
  expect(host.world.queue.quarantined()).toEqual([{ item, code: "job-not-found" }]);
  expect(await host.names("ghost")).toEqual([]);
  expect(host.world.queue.size()).toBe(0);
});

test("what must be undone while its input cannot be opened waits for a person, and a cancel ends it, saying so", async () => {
  let isReadable = true;
  const sealer = {
    ...plainSealer,
    open: (...given: Parameters<typeof plainSealer.open>) => {
      if (!isReadable) throw new Error("the key is gone");
      return plainSealer.open(...given);
    },
  };
  const undone: string[] = [];
  const host = scanFamily(
    async (_, run) => {
      await run.step("made", async () => "made", { undo: async (made) => void undone.push(made) });
      throw transient("repo-unavailable", "down");
    },
    { tries: 2 },
    { around: (engine) => ({ ...engine, sealer }) },
  );
  await host.send();
  await host.runReady();
  isReadable = false;
  await host.runToEnd();
  expect(await host.names()).toEqual([
    "JobQueued",
    "JobStarted",
    "StepCompleted",
    "JobAttemptFailed",
    "JobParked",
  ]);
  expect(host.world.queue.size()).toBe(0);
  const parked = (await host.journal("job-1")).at(-1);
  expect(parked?.data).toMatchObject({ remedy: expect.stringContaining("take back by hand") });
  await host.control("resume", "job-1", "wish-1");
  await host.runToEnd();
  expect((await host.names()).slice(-2)).toEqual(["JobResumed", "JobParked"]);
  await host.control("cancel", "job-1", "wish-2");
  await host.runToEnd();
  const end = (await host.journal("job-1")).at(-1);
  expect(end).toMatchObject({
    name: "JobCancelled",
    data: { reason: "because; its input is unreadable: nothing was taken back" },
  });
  expect(undone).toEqual([]);
  expect(host.world.queue.size()).toBe(0);
});

test("clearing cancels what has not started, and spares what has started, ended or waits for a person", async () => {
  const host = scanFamily(async ({ text }) => {
    if (text === "fails") throw transient("repo-unavailable", "down");
    return "fine";
  });
  const soon = new Date(host.world.clock.now().getTime() + 60_000);
  await host.send("started", "fails");
  await host.send("ended");
  await host.runReady();
  await host.send("queued");
  await host.send("scheduled", "x", { notBefore: soon });
  for (const jobId of ["queued", "scheduled", "started", "ended"]) {
    await host.control("clear", jobId, `wish-${jobId}`);
  }
  expect(await host.names("queued")).toEqual(["JobQueued", "JobCancelRequested", "JobCancelled"]);
  expect((await host.names("scheduled")).at(-1)).toBe("JobCancelled");
  expect(await host.names("started")).not.toContain("JobCancelRequested");
  expect((await host.names("ended")).at(-1)).toBe("JobCompleted");
});

test("a job that starts while it is cleared runs on", async () => {
  const world = memoryWorld();
  const host = scanFamily(async () => "fine", {}, { world });
  await host.send();
  const { log } = host.engine;
  let isFirst = true;
  // A worker starts the job between the family's look at the journal and its end.
  const append: typeof log.append = async (...given) => {
    if (isFirst) {
      isFirst = false;
      await host.runReady();
    }
    return log.append(...given);
  };
  const late = scanFamily(
    async () => "fine",
    {},
    { world, around: (engine) => ({ ...engine, log: { ...log, append } }) },
  );
  await late.control("clear");
  expect(isFirst).toBe(false);
  expect((await host.names()).at(-1)).toBe("JobCompleted");
  expect(await host.names()).not.toContain("JobCancelled");
});
