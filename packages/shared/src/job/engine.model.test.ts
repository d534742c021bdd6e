/** The engine against chance: processes that die between any two writes, items that come twice, wishes at odd moments. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { operator, permanent, transient, unknownOutcome } from "../failure/failure.ts";
import { type Death, dyingPorts } from "../testing/dying-ports.ts";
import { memoryWorld, type World } from "../testing/memory-engine.ts";
import { scanFamily, type Work } from "../testing/scan-family.ts";
import { runLeaseKey } from "../topology/subjects.ts";
import { deliver } from "./deliver.ts";
import type { JournalEntry } from "./journal.ts";
import { tellFacts } from "./sweeper.ts";

const seed = Number(process.env["CHOM_TEST_SEED"] ?? Date.now() % 2 ** 31);
const runs = Number(process.env["CHOM_TEST_RUNS"] ?? 1_000);
const jobIds = ["job-1", "job-2", "job-3"] as const;
const tries = 3;
const never = new AbortController().signal;

const endings = ["ok", "skip", "defer", "passing", "final", "unknown", "bug", "operator"] as const;
type Ending = (typeof endings)[number] | "hang" | "deaf";
type Step =
  | { readonly op: "send" | "again" | "cancel" | "retry" | "resume"; readonly job: number }
  | { readonly op: "run" | "lose" }
  | { readonly op: "crash"; readonly at: number; readonly death: Death }
  | { readonly op: "wait"; readonly ms: number };

const anyStep: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    op: fc.constantFrom("send", "again", "cancel", "retry", "resume"),
    job: fc.nat(2),
  }),
  fc.record({ op: fc.constantFrom("run", "run", "run", "lose") }),
  fc.record({
    op: fc.constant("crash" as const),
    at: fc.integer({ min: 1, max: 16 }),
    death: fc.constantFrom<Death>("before", "after", "answer-lost"),
  }),
  fc.record({
    op: fc.constant("wait" as const),
    ms: fc.constantFrom(1, 400, 3_000, 12_000, 31_000, 70_000),
  }),
);

/** How each further entering of `work` goes; after these all is well. */
const anyEnding = fc.constantFrom<Ending>(...endings, "hang", "deaf");

/** What happened outside: steps that took effect, by job and step. */
type Outside = { readonly done: Map<string, number>; troubles: number };

function workOf(world: World, outside: Outside, script: readonly Ending[]): Work {
  let entered = 0;
  const effect = (name: string) => outside.done.set(name, (outside.done.get(name) ?? 0) + 1);
  return async ({ text }, run) => {
    for (const name of ["one", "two"]) {
      await run.step(name, async () => void effect(`${text} ${name}`), { undo: async () => {} });
    }
    const ending = script[entered] ?? "ok";
    entered += 1;
    switch (ending) {
      case "skip":
        return run.skip("nothing to do");
      case "defer":
        return run.defer({ seconds: 20 }, "not yet") as never;
      case "passing":
        throw transient("repo-unavailable", "down");
      case "final":
        throw permanent("port-conflict", "in use");
      case "unknown":
        throw unknownOutcome("step-timeout", "no answer");
      case "operator":
        throw operator("sudo-denied", "no");
      case "bug":
        throw new TypeError("x is not a function");
      case "hang":
        await new Promise((_, reject) => run.signal.addEventListener("abort", reject));
        return "never";
      case "deaf":
        await new Promise<void>((resolve) => world.clock.after(200_000, resolve));
        return "late";
      default:
        return "fine";
    }
  };
}

function begin(script: readonly Ending[]) {
  const world = memoryWorld();
  const outside: Outside = { done: new Map(), troubles: 0 };
  const work = workOf(world, outside, script);
  const extra = { tries, timeoutMs: 60_000, exclusive: () => ["site.site-1"] };
  const host = scanFamily(work, extra, { world });
  const process = (around?: ReturnType<typeof dyingPorts>) =>
    around ? scanFamily(work, extra, { world, around: around.around }) : host;
  let wishes = 0;
  let causes = 1_000;
  /** Hands everything that is ready to a process; it works while time goes on. */
  const run = (dying?: ReturnType<typeof dyingPorts>) => {
    const { engine } = process(dying);
    for (const taken of world.queue.ready(3)) {
      const delivery = dying ? dying.wrap(taken) : taken;
      void deliver(engine, delivery, never).catch(() => delivery.nak(1_000));
    }
  };
  const item = (jobId: string) =>
    ({ family: "backup", queue: "default", tenant: "tenant-1", jobId }) as const;
  async function take(step: Step): Promise<void> {
    const jobId = "job" in step ? (jobIds[step.job] ?? jobIds[0]) : jobIds[0];
    switch (step.op) {
      case "send":
        return void (await host.send(jobId, jobId));
      case "again":
        causes += 1;
        return world.queue.publish(item(jobId), causes);
      case "cancel":
      case "retry":
      case "resume":
        wishes += 1;
        return host.control(step.op, jobId, `wish-${wishes}`);
      case "lose":
        return world.queue.lose();
      case "crash":
        outside.troubles += 3;
        run(dyingPorts(step.at, step.death));
        return world.clock.advance(50);
      case "wait":
        return world.clock.advance(step.ms);
      default:
        run();
        return world.clock.advance(50);
    }
  }
  return { ...host, world, outside, take, run, item };
}

const ends = new Set(["JobCompleted", "JobSkipped", "JobFailed", "JobCancelled"]);
const eventsOf = ({ data }: JournalEntry): readonly { readonly eventId: string }[] =>
  "events" in data ? data.events : [];

/** The journal in generations. */
function generationsOf(journal: readonly JournalEntry[]): readonly (readonly JournalEntry[])[] {
  const generations: JournalEntry[][] = [[]];
  for (const entry of journal) {
    if (entry.name === "JobRetried") generations.push([]);
    generations.at(-1)?.push(entry);
  }
  return generations;
}

type Host = ReturnType<typeof begin>;

/** From here on nothing goes wrong any more: sweeper, worker and operator do what they are there for. */
async function settle({ world, engine, state, item, run, control }: Host): Promise<void> {
  // As the sweeper does when the stream was lost.
  if (world.queue.wasLost()) {
    for (const jobId of jobIds) {
      if ((await state(jobId)).end) await tellFacts(engine, { tenant: "tenant-1", jobId });
    }
  }
  for (let round = 0; round < 80; round += 1) {
    let open = 0;
    for (const jobId of jobIds) {
      const { queued, end, parked } = await state(jobId);
      if (!queued || end) continue;
      open += 1;
      if (parked) await control("resume", jobId, `settle-${round}-${jobId}`);
      // As the sweeper does.
      if (!(await world.leases.held(runLeaseKey("tenant-1", engine.family, jobId)))) {
        if ((await world.queue.presence(item(jobId))) === "nothing") {
          await world.queue.publishIfAbsent(item(jobId), 5_000 + round);
        }
      }
    }
    run();
    await world.clock.advance(31_000);
    if (open === 0 && world.queue.size() === 0) return;
  }
}

async function check(host: Host): Promise<void> {
  const decided: string[] = [];
  for (const jobId of jobIds) {
    const journal = await host.journal(jobId);
    if (journal.length === 0) continue;
    const told = `${jobId}: ${journal.map(({ name }) => name).join(" ")}`;
    const generations = generationsOf(journal);
    for (const [index, entries] of generations.entries()) {
      const terminal = entries.filter(({ name }) => ends.has(name)).length;
      // No job is left without anything that moves it, and none ends twice.
      expect(terminal, told).toBe(1);
      expect(ends.has(entries.at(-1)?.name ?? ""), told).toBe(true);
      for (const { name, data } of entries) {
        if (name === "JobStarted") expect(data.attempt, told).toBeLessThanOrEqual(tries);
      }
      expect(index, told).toBeLessThanOrEqual(40);
    }
    for (const name of ["one", "two"]) {
      const completed = journal.filter(
        ({ name: entry, data }) =>
          entry === "StepCompleted" && "step" in data && data.step === name,
      ).length;
      const done = host.outside.done.get(`${jobId} ${name}`) ?? 0;
      expect(done, told).toBeGreaterThanOrEqual(completed);
      expect(done - completed, told).toBeLessThanOrEqual(host.outside.troubles);
    }
    decided.push(...journal.flatMap((entry) => eventsOf(entry).map(({ eventId }) => eventId)));
  }
  const stored = await host.world.log.load("EVENTS", "evt.tenant-1.backups.site-1");
  expect(stored.map(({ id }) => id).toSorted()).toEqual(decided.toSorted());
  expect(host.world.queue.size()).toBe(0);
}

test(`whatever happens in between, every job ends once, with its facts once (seed ${seed})`, async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(anyStep, { minLength: 5, maxLength: 40 }),
      fc.array(anyEnding, { maxLength: 12 }),
      async (steps, script) => {
        const host = begin(script);
        await host.take({ op: "send", job: 0 });
        for (const step of steps) await host.take(step);
        await settle(host);
        await check(host);
      },
    ),
    { seed, numRuns: runs },
  );
}, 120_000);
