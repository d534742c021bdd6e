import { expect, test } from "vitest";
import { failureOf, permanent, transient } from "../failure/failure.ts";
import { script } from "../script/script.ts";
import { Secret } from "../secrets/secret.ts";
import { type Death, dyingPorts } from "../testing/dying-ports.ts";
import { fakeServers } from "../testing/fake-servers.ts";
import { memoryWorld } from "../testing/memory-engine.ts";
import { type Extra, scanFamily, type Work } from "../testing/scan-family.ts";
import { deliver } from "./deliver.ts";
import { journalEvents } from "./journal-events.ts";
import { openJournal } from "./journal-writer.ts";

const fine: Work = async () => "fine";

test("a job is journaled, worked on once and ends with its facts", async () => {
  const { send, runToEnd, names, facts, world } = scanFamily(fine);
  expect(await send()).toEqual({ jobId: "job-1", position: 1, created: true });
  await runToEnd();
  expect(await names()).toEqual(["JobQueued", "JobStarted", "JobCompleted"]);
  expect(await facts()).toEqual(["Begun x", "Ended fine", "Noted end"]);
  expect(world.queue.size()).toBe(0);
});

test("the same id with the same input is one job, with another input a conflict", async () => {
  const { send, runToEnd, names } = scanFamily(fine);
  await send();
  expect(await send()).toEqual({ jobId: "job-1", position: 1, created: false });
  await expect(send("job-1", "y")).rejects.toMatchObject({ code: "already-exists" });
  await runToEnd();
  expect((await send()).created).toBe(false);
  await runToEnd();
  expect(await names()).toEqual(["JobQueued", "JobStarted", "JobCompleted"]);
});

test("a repeated dispatch puts back an item that was lost", async () => {
  const { send, runToEnd, names, world } = scanFamily(fine);
  await send();
  world.queue.lose();
  await send();
  await runToEnd();
  expect(await names()).toContain("JobCompleted");
});

test("inputs and options out of bounds are refused", async () => {
  const { send } = scanFamily(fine);
  await expect(send("job-1", "x".repeat(300_000))).rejects.toMatchObject({
    code: "payload-too-large",
  });
  await expect(send("job-1", "x", { tries: 101 })).rejects.toMatchObject({ kind: "invalid" });
  await expect(send("job-1", "x", { timeoutMs: 999 })).rejects.toMatchObject({ kind: "invalid" });
  await expect(send("Job 1")).rejects.toMatchObject({ kind: "invalid" });
});

test("a delayed job starts no earlier, and one that expired never", async () => {
  const { send, runReady, runToEnd, names, facts, world } = scanFamily(fine);
  const now = world.clock.now().getTime();
  await send("job-1", "x", { notBefore: new Date(now + 60_000) });
  await send("job-2", "x", { notBefore: new Date(now + 60_000), expiresAt: new Date(now + 9_000) });
  await runReady();
  expect(await names()).toEqual(["JobQueued"]);
  await runToEnd();
  expect(await names()).toEqual(["JobQueued", "JobStarted", "JobCompleted"]);
  expect(await names("job-2")).toEqual(["JobQueued", "JobCancelled"]);
  expect(await facts()).toContain("Dropped expired before it could start");
});

test("transient failures are tried again with backoff, then the job fails", async () => {
  const { send, runToEnd, journal, facts } = scanFamily(async () => {
    throw transient("ssh-unreachable", "no route");
  });
  await send();
  await runToEnd();
  const entries = await journal("job-1");
  expect(entries.map(({ name }) => name)).toEqual([
    "JobQueued",
    "JobStarted",
    "JobAttemptFailed",
    "JobStarted",
    "JobAttemptFailed",
    "JobStarted",
    "JobFailed",
  ]);
  const [, , failed, again] = entries;
  // Half to the whole of 20 s; the draw of 0.5 gives 15 s.
  const waited = (again?.meta.time.getTime() ?? 0) - (failed?.meta.time.getTime() ?? 0);
  expect(waited).toBeGreaterThanOrEqual(15_000);
  expect(await facts()).toEqual(["Begun x", "Failed ssh-unreachable true 3"]);
});

test("permanent failures are not tried again", async () => {
  const { send, runToEnd, names } = scanFamily(async () => {
    throw new Error("while packing", { cause: permanent("port-conflict", "port in use") });
  });
  await send();
  await runToEnd();
  expect(await names()).toEqual(["JobQueued", "JobStarted", "JobFailed"]);
});

test("deferring costs no attempt, by outcome or by a code that waits", async () => {
  let times = 0;
  const { send, runToEnd, journal, facts } = scanFamily(
    async (_, run) => {
      times += 1;
      if (times <= 3) throw failureOf("dns-not-pointed", "elsewhere");
      if (times === 4) return run.defer({ minutes: 15 }, "not yet") as never;
      return `attempt ${run.attempt}`;
    },
    { tries: 1 },
  );
  await send();
  await runToEnd();
  expect(await facts()).toEqual([
    "Begun x",
    "Put dns-not-pointed",
    "Put dns-not-pointed",
    "Put dns-not-pointed",
    "Put deferred",
    "Ended attempt 1",
    "Noted end",
  ]);
  const last = (await journal("job-1")).at(-1);
  expect(last?.name).toBe("JobCompleted");
});

test("a code that waits at most three times in a row parks the job then, and a resumed job goes on", async () => {
  let full = true;
  const { send, runToEnd, names, control } = scanFamily(async () => {
    if (full) throw failureOf("disk-full", "no space");
    return "fine";
  });
  await send();
  await runToEnd();
  expect((await names()).filter((name) => name === "JobDeferred")).toHaveLength(3);
  expect((await names()).at(-1)).toBe("JobParked");
  full = false;
  await control("resume");
  await runToEnd();
  expect((await names()).at(-1)).toBe("JobCompleted");
});

test("an unknown outcome is reconciled at once, even on the last try", async () => {
  let times = 0;
  const { send, runToEnd, facts } = scanFamily(
    async () => {
      times += 1;
      if (times === 1) throw failureOf("ssh-connection-lost", "cut");
      return "fine";
    },
    { tries: 1 },
  );
  await send();
  await runToEnd();
  expect(await facts()).toEqual(["Begun x", "Ended fine", "Noted end"]);
});

test("finished steps are not run again", async () => {
  const ran: string[] = [];
  const { send, runToEnd, facts } = scanFamily(async (_, run) => {
    const at = await run.step("one", async () => {
      ran.push("one");
      return { at: new Date(5), big: 7n, none: undefined, list: [1, null] };
    });
    const two = await run.step("two", async () => {
      ran.push("two");
      if (ran.length < 4) throw transient("repo-unavailable", "down");
      return "two";
    });
    return `${at.at.getTime()} ${at.big} ${String(at.none)} ${two}`;
  });
  await send();
  await runToEnd();
  expect(ran).toEqual(["one", "two", "two", "two"]);
  expect(await facts()).toContain("Ended 5 7 undefined two");
});

test("a remembered result that no longer holds is made again", async () => {
  let made = 0;
  const { send, runToEnd, facts } = scanFamily(async (_, run) => {
    const dump = async () => {
      made += 1;
      return `dump ${made}`;
    };
    const path = await run.step("dump", dump, { check: async (result) => result !== "dump 1" });
    if (run.attempt === 1) throw transient("repo-unavailable", "down");
    return path;
  });
  await send();
  await runToEnd();
  expect(await facts()).toContain("Ended dump 2");
});

test("a secret in a result fails the job, and it is nowhere in the log", async () => {
  const { send, runToEnd, facts, world } = scanFamily(
    async (_, run) =>
      run.step("leak", async () => ({ password: new Secret("hunter2") }) as never) as never,
  );
  await send();
  await runToEnd();
  expect(await facts()).toEqual(["Begun x", "Failed secret-in-result true 1"]);
  const all = JSON.stringify((await world.log.read("JOURNAL", "jrn.>", 0, 100)).entries);
  expect(all).not.toContain("hunter2");
});

test("undos run in reverse before the failure is told, and a failing one is told too", async () => {
  const undone: string[] = [];
  const work =
    (broken: boolean): Work =>
    async (_, run) => {
      for (const name of ["a", "b", "c"]) {
        await run.step(name, async () => name, {
          undo: async (result) => {
            if (broken && result === "b") throw permanent("db-missing", "gone");
            undone.push(result);
          },
        });
      }
      throw permanent("nginx-test-failed", "line 3");
    };
  const { send, runToEnd, names, facts } = scanFamily(work(false));
  await send();
  await runToEnd();
  expect(undone).toEqual(["c", "b", "a"]);
  expect((await names()).slice(5)).toEqual([
    "JobAttemptFailed",
    "StepUndone",
    "StepUndone",
    "StepUndone",
    "JobFailed",
  ]);
  expect(await facts()).toContain("Failed nginx-test-failed true 1");
  const second = scanFamily(work(true));
  await second.send();
  await second.runToEnd();
  expect(await second.facts()).toContain("Failed nginx-test-failed false 1");
});

test("a record is one fact however often the run comes back", async () => {
  const { send, runToEnd, facts } = scanFamily(async (_, run) => {
    await run.record("tell", "note", "half");
    if (run.attempt < 3) throw transient("repo-unavailable", "down");
    return "fine";
  });
  await send();
  await runToEnd();
  expect((await facts()).filter((fact) => fact === "Noted half")).toHaveLength(1);
});

test("an attempt that takes too long is aborted and tried again", async () => {
  const { send, runToEnd, facts, journal } = scanFamily(async (_, run) => {
    if (run.attempt === 1) {
      await new Promise((_, reject) => run.signal.addEventListener("abort", reject));
    }
    return "fine";
  });
  await send();
  await runToEnd();
  const failed = (await journal("job-1")).find(({ name }) => name === "JobAttemptFailed");
  expect(failed?.data).toMatchObject({ failure: { code: "attempt-timeout" } });
  expect(await facts()).toContain("Ended fine");
});

test("a job waits for a lease without spending an attempt, and says so once", async () => {
  const world = memoryWorld();
  const { send, runReady, runToEnd, names } = scanFamily(
    fine,
    { exclusive: () => ["site.site-1"], tries: 1 },
    { world },
  );
  const taken = await world.leases.acquire("tenant-1.site.site-1", "other");
  await send();
  await runReady();
  expect(await world.tickets.waiting("tenant-1.site.site-1")).toHaveLength(1);
  await world.clock.advance(20_000);
  await runReady();
  expect(await names()).toEqual(["JobQueued", "JobWaiting"]);
  if ("lease" in taken) await world.leases.release(taken.lease);
  await runToEnd();
  expect(await names()).toEqual(["JobQueued", "JobWaiting", "JobStarted", "JobCompleted"]);
  expect(await world.tickets.waiting("tenant-1.site.site-1")).toEqual([]);
});

test("two items of one job never run at the same time", async () => {
  let running = 0;
  let most = 0;
  const { send, runToEnd, world, engine } = scanFamily(async (_, run) => {
    running += 1;
    most = Math.max(most, running);
    await run.step("wait", async () => {
      await new Promise<void>((done) => engine.clock.after(45_000, done));
    });
    running -= 1;
    return "fine";
  });
  await send();
  world.queue.lose();
  const [first] = await Promise.all([world.queue.publish(itemOf("job-1"), 101)]).then(() =>
    world.queue.ready(1),
  );
  await world.queue.publish(itemOf("job-1"), 102);
  const [second] = world.queue.ready(1);
  if (!first || !second) throw new Error("two items are expected");
  const stopping = new AbortController().signal;
  const both = [first, second].map((each) => deliver(engine, each, stopping));
  for (let beat = 0; beat < 8; beat += 1) await world.clock.advance(10_000);
  await Promise.all(both);
  await runToEnd();
  expect(most).toBe(1);
});
const itemOf = (jobId: string) =>
  ({ family: "backup", queue: "default", tenant: "tenant-1", jobId }) as const;

test("a queued job is cancelled at once, a running one stops, undoes and ends cancelled", async () => {
  const undone: string[] = [];
  const { send, runToEnd, names, facts, control, world, engine } = scanFamily(async (_, run) => {
    await run.step("made", async () => "made", { undo: async (made) => void undone.push(made) });
    await new Promise((_, reject) => run.signal.addEventListener("abort", reject));
    return "never";
  });
  await send("job-1");
  await control("cancel", "job-1", "wish-1");
  expect(await names("job-1")).toEqual(["JobQueued", "JobCancelRequested", "JobCancelled"]);
  await runToEnd();
  await send("job-2");
  const [delivery] = world.queue.ready(1);
  if (!delivery) throw new Error("an item is expected");
  const running = deliver(engine, delivery, new AbortController().signal);
  await world.clock.advance(1_000);
  await control("cancel", "job-2", "wish-2");
  await world.clock.advance(2_000);
  await running;
  await runToEnd();
  expect(undone).toEqual(["made"]);
  expect((await names("job-2")).slice(-4)).toEqual([
    "JobCancelRequested",
    "JobCancelAcknowledged",
    "StepUndone",
    "JobCancelled",
  ]);
  expect((await facts()).filter((fact) => fact === "Dropped because")).toHaveLength(2);
});

test("a wish to cancel is seen at the next heartbeat when no hint arrives", async () => {
  const { send, names, control, world, engine } = scanFamily(
    async (_, run) => {
      await new Promise((_, reject) => run.signal.addEventListener("abort", reject));
      return "never";
    },
    {},
    { around: (engine) => ({ ...engine, log: { ...engine.log, hint: () => () => {} } }) },
  );
  await send();
  const [delivery] = world.queue.ready(1);
  if (!delivery) throw new Error("an item is expected");
  const running = deliver(engine, delivery, new AbortController().signal);
  await world.clock.advance(1_000);
  await control("cancel");
  await world.clock.advance(11_000);
  await running;
  expect((await names()).slice(-3)).toEqual([
    "JobCancelRequested",
    "JobCancelAcknowledged",
    "JobCancelled",
  ]);
});

test("a failed job that is retried has fresh tries and a new generation", async () => {
  let broken = true;
  const { send, runToEnd, names, control, state } = scanFamily(async () => {
    if (broken) throw permanent("port-conflict", "in use");
    return "fine";
  });
  await send();
  await runToEnd();
  broken = false;
  await control("retry");
  await runToEnd();
  expect((await names()).slice(2)).toEqual([
    "JobFailed",
    "JobRetried",
    "JobStarted",
    "JobCompleted",
  ]);
  expect((await state("job-1")).generation).toBe(2);
});

test("a drained worker gives its job back without a spent attempt", async () => {
  const { send, runToEnd, world, engine, state, facts } = scanFamily(
    async (_, run) => {
      if ((await world.log.load("JOURNAL", "jrn.tenant-1.backup.job-1")).length < 3) {
        await new Promise((_, reject) => run.signal.addEventListener("abort", reject));
      }
      return `attempt ${run.attempt}`;
    },
    { tries: 1 },
  );
  await send();
  const [delivery] = world.queue.ready(1);
  if (!delivery) throw new Error("an item is expected");
  const stopping = new AbortController();
  const running = deliver(engine, delivery, stopping.signal);
  await world.clock.advance(1_000);
  stopping.abort();
  await world.clock.advance(1);
  await running;
  expect((await state("job-1")).attempts).toBe(0);
  await runToEnd();
  expect(await facts()).toContain("Ended attempt 1");
});

const removeFiles = script({
  file: new URL("file:///scripts/remove-files.sh"),
  timeoutMs: 1_000,
  variables: () => ({}),
  output: () => "removed",
});

/** Lets a process die at its n-th effect, then lets another finish; answers what is in the log. */
async function crashAt(at: number, death: Death, work: Work, extra: Extra) {
  const world = memoryWorld();
  const servers = fakeServers({ "remove-files.sh": "removed" });
  const process = dyingPorts(at, death);
  const first = scanFamily(work, extra, { world, servers, around: process.around });
  const second = scanFamily(work, extra, { world, servers });
  await second.send();
  const [delivery] = world.queue.ready(1);
  if (!delivery) throw new Error("an item is expected");
  const wrapped = process.wrap(delivery);
  void deliver(first.engine, wrapped, new AbortController().signal).catch(() => wrapped.nak(1_000));
  await world.clock.advance(100);
  const died = process.died();
  await second.runToEnd();
  return { died, facts: await second.facts(), names: await second.names(), queue: world.queue };
}

for (const when of ["after", "before", "answer-lost"] as const) {
  test(`a worker in trouble at any of its effects (${when}) leaves a job that ends once, with its facts once`, async () => {
    const work: Work = async (_, run) => {
      await run.step("one", async () => 1);
      await run.record("tell", "note", "half");
      return run.script("remove", removeFiles, "server-1", {});
    };
    const extra = { exclusive: () => ["site.site-1"] };
    let points = 0;
    for (let at = 1; at < 100; at += 1) {
      const { died, facts, names, queue } = await crashAt(at, when, work, extra);
      expect(facts, `crash ${when} effect ${at}: ${names.join(" ")}`).toEqual([
        "Begun x",
        "Noted half",
        "Ended removed",
        "Noted end",
      ]);
      expect(names.filter((name) => name === "JobCompleted")).toHaveLength(1);
      expect(queue.size()).toBe(0);
      if (!died) break;
      points += 1;
    }
    expect(points).toBeGreaterThan(12);
  });

  test(`a worker in trouble at any effect (${when}) of a failing job leaves everything undone once told`, async () => {
    let made = new Set<string>();
    const work: Work = async (_, run) => {
      for (const name of ["a", "b"]) {
        await run.step(name, async () => void made.add(name), {
          undo: async () => void made.delete(name),
        });
      }
      throw permanent("nginx-test-failed", "line 3");
    };
    let points = 0;
    for (let at = 1; at < 100; at += 1) {
      made = new Set();
      const { died, facts, names } = await crashAt(at, when, work, {});
      expect([...made], `crash ${when} effect ${at}: ${names.join(" ")}`).toEqual([]);
      expect(facts.at(-1)).toMatch(/^Failed nginx-test-failed true/);
      expect(facts).toHaveLength(2);
      if (!died) break;
      points += 1;
    }
    expect(points).toBeGreaterThan(10);
  });
}

test("a job that has ended takes back nothing and does nothing when its item comes again", async () => {
  let ran = 0;
  const { send, runToEnd, names, world } = scanFamily(async () => {
    ran += 1;
    return "fine";
  });
  await send();
  await runToEnd();
  await world.queue.publish(itemOf("job-1"), 500);
  await runToEnd();
  expect(ran).toBe(1);
  expect(await names()).toEqual(["JobQueued", "JobStarted", "JobCompleted"]);
});

test("what an overtaken attempt has to say is not recorded", async () => {
  const world = memoryWorld();
  const { send, runToEnd, names, facts, engine } = scanFamily(
    async (_, run) => {
      if (run.attempt === 1) {
        // Another process took the job over meanwhile.
        const journal = await openJournal(engine, { tenant: "tenant-1", jobId: "job-1" });
        const started = { attempt: 2, worker: "other", generation: 1, deadline: undefined };
        const entry = { ...started, leaseKeys: [], events: [] };
        await journal.request([journalEvents.JobStarted(entry)]);
        return "stale";
      }
      return `attempt ${run.attempt}`;
    },
    {},
    { world },
  );
  await send();
  await runToEnd();
  expect(await names()).toEqual(["JobQueued", "JobStarted", "JobStarted"]);
  await send();
  await world.queue.publish(itemOf("job-1"), 500);
  await runToEnd();
  expect(await facts()).toEqual(["Begun x", "Ended attempt 3", "Noted end"]);
});

test("a long attempt keeps its item and its leases", async () => {
  const world = memoryWorld();
  let ran = 0;
  const { send, runToEnd, names, engine } = scanFamily(
    async () => {
      ran += 1;
      await new Promise<void>((done) => engine.clock.after(300_000, done));
      return "fine";
    },
    { exclusive: () => ["site.site-1"], timeoutMs: 600_000 },
    { world },
  );
  await send();
  const [delivery] = world.queue.ready(1);
  if (!delivery) throw new Error("an item is expected");
  const running = deliver(engine, delivery, new AbortController().signal);
  for (let beat = 0; beat < 35; beat += 1) {
    await world.clock.advance(9_000);
    if (beat < 32) {
      expect(world.queue.ready(1)).toEqual([]);
      expect(await world.leases.acquire("tenant-1.site.site-1", "other")).toHaveProperty("heldBy");
    }
  }
  await running;
  await runToEnd();
  expect(ran).toBe(1);
  expect(await names()).toEqual(["JobQueued", "JobStarted", "JobCompleted"]);
});

test("a run whose lease was taken away stops at once and is tried again", async () => {
  const world = memoryWorld();
  const { send, runToEnd, journal, facts, engine } = scanFamily(
    async (_, run) => {
      if (run.attempt > 1) return "fine";
      await new Promise((_, reject) => run.signal.addEventListener("abort", reject));
      return "never";
    },
    { exclusive: () => ["site.site-1"] },
    { world },
  );
  await send();
  const [delivery] = world.queue.ready(1);
  if (!delivery) throw new Error("an item is expected");
  const running = deliver(engine, delivery, new AbortController().signal);
  await world.clock.advance(1_000);
  await world.leases.acquire("tenant-1.site.site-1", "job-1");
  await world.clock.advance(10_000);
  await running;
  await runToEnd();
  const failed = (await journal("job-1")).find(({ name }) => name === "JobAttemptFailed");
  expect(failed?.data).toMatchObject({ failure: { code: "lease-lost" } });
  expect(await facts()).toContain("Ended fine");
});

test("a work that ignores its abort keeps its leases until they end by themselves", async () => {
  const world = memoryWorld();
  const deaf: Work = async (_, run) => (run.attempt === 1 ? new Promise(() => {}) : "fine");
  const { send, runReady, runToEnd, facts } = scanFamily(
    deaf,
    { exclusive: () => ["site.site-1"], timeoutMs: 1_000 },
    { world },
  );
  await send();
  await runReady();
  expect(await world.leases.held("tenant-1.site.site-1")).toBeDefined();
  await runToEnd();
  expect(await facts()).toContain("Ended fine");
});

test("a job whose worker is lost after another failure fails as worker-lost", async () => {
  const world = memoryWorld();
  const work: Work = async (_, run) => {
    if (run.attempt === 1) throw transient("repo-unavailable", "down");
    return new Promise(() => {});
  };
  const host = scanFamily(work, { tries: 2 }, { world });
  await host.send();
  await host.runReady();
  await world.clock.advance(20_000);
  const process = dyingPorts(3, "after");
  const lost = scanFamily(work, { tries: 2 }, { world, around: process.around });
  const [delivery] = world.queue.ready(1);
  if (!delivery) throw new Error("an item is expected");
  void deliver(lost.engine, process.wrap(delivery), new AbortController().signal);
  await world.clock.advance(31_000);
  await host.runToEnd();
  expect((await host.facts()).at(-1)).toBe("Failed worker-lost true 2");
});

test("a job whose worker is lost in every attempt fails as worker-lost", async () => {
  const world = memoryWorld();
  const never: Work = () => new Promise(() => {});
  const last = scanFamily(never, { tries: 2 }, { world });
  await last.send();
  for (let attempt = 1; attempt <= 2; attempt += 1) {
    // Effects: run lease, (no keys), JobStarted; dies with the event of `started` or right after.
    const process = dyingPorts(attempt === 1 ? 4 : 3, "after");
    const lost = scanFamily(never, { tries: 2 }, { world, around: process.around });
    const [delivery] = world.queue.ready(1);
    if (!delivery) throw new Error("an item is expected");
    void deliver(lost.engine, process.wrap(delivery), new AbortController().signal);
    await world.clock.advance(31_000);
  }
  await last.runToEnd();
  expect(await last.names()).toEqual(["JobQueued", "JobStarted", "JobStarted", "JobFailed"]);
  expect((await last.facts()).at(-1)).toBe("Failed worker-lost true 2");
});
