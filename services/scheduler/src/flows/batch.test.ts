import { BatchSpec, FlowStep } from "@chom/proto/chom/scheduler/v1/flows";
import { decide, fold } from "@chom/shared/aggregate/aggregate";
import fc from "fast-check";
import { expect, test } from "vitest";
import { batch, partsOf, type Seen, stepsOf } from "./batch.ts";

const step = (n: number) =>
  FlowStep.fromPartial({ jobName: "backup.clean", inputJson: `{"n":${n}}` });
const meta = { time: new Date(0) } as never;
type State = ReturnType<typeof batch.initial>;
const after = (state: State, events: ReturnType<typeof decide>) =>
  fold(
    batch,
    events.map(({ name, data }) => ({ name, data, meta })),
    state,
  );

function created(
  jobs: number,
  more: { allowFailures?: boolean; moreFollow?: boolean } = {},
): State {
  const { allowFailures = false, moreFollow = false } = more;
  const steps = Array.from({ length: jobs }, (_, n) => step(n));
  const spec = BatchSpec.fromPartial({ allowFailures });
  const begin = { specJson: "{}", spec, chainId: "", jobs: steps, moreFollow };
  return after(batch.initial(), decide(batch, batch.initial(), "create", begin));
}

test("ten thousand jobs fit into events, in their order", () => {
  const steps = Array.from({ length: 10_000 }, (_, n) => step(n));
  const parts = partsOf(steps);
  expect(parts.every(({ json }) => json.length <= 100_000)).toBe(true);
  expect(parts.reduce((sum, { count }) => sum + count, 0)).toBe(10_000);
  expect(stepsOf({ ...batch.initial(), parts: parts.map(({ json }) => json) })).toEqual(steps);
});

type Job = "open" | "completed" | "skipped" | "failed" | "cancelled";
const ends = ["completed", "skipped", "failed", "cancelled"] as const;

/** A job's ends over time: it may fail, be retried and end again; only the last counts. */
const lives = fc.array(
  fc.array(fc.constantFrom<Job>("open", ...ends), { minLength: 1, maxLength: 4 }),
  { maxLength: 12 },
);

test("however jobs end, are retried and told of, a batch finishes once and counts each job once", () => {
  fc.assert(
    fc.property(
      lives,
      fc.boolean(),
      fc.array(fc.nat(), { maxLength: 80 }),
      (jobs, allowFailures, order) => {
        let state = created(jobs.length, { allowFailures });
        const now: Job[] = jobs.map(() => "open");
        const left = jobs.map((life) => [...life]);
        const told: string[] = [];
        const look = () => {
          const count = (end: Job) => now.filter((job) => job === end).length;
          const seen: Seen = {
            requested: jobs.length,
            tally: {
              ...{ completed: count("completed"), skipped: count("skipped") },
              ...{ failed: count("failed"), cancelled: count("cancelled") },
            },
            failedJobId: count("failed") > 0 ? "job" : "",
            failingJobId: count("failed") > 0 ? "job" : "",
            recently: false,
          };
          const events = decide(batch, state, "look", seen);
          told.push(...events.map(({ name }) => name));
          state = after(state, events);
          return seen.tally;
        };
        for (const pick of order) {
          const index = jobs.length === 0 ? -1 : pick % jobs.length;
          const next = left[index]?.shift();
          if (next) now[index] = next;
          look();
          if (state.finished) break;
        }
        // In the end every job ends.
        for (const [index, job] of now.entries()) if (job === "open") now[index] = "completed";
        const finishedEarly = state.finished;
        const tally = finishedEarly ? state.tally : look();
        look();
        const count = (name: string) => told.filter((each) => each === name).length;
        expect(state.finished).toBe(true);
        expect(count("BatchFinished")).toBe(1);
        expect(count("BatchFailed")).toBeLessThanOrEqual(1);
        expect(state.tally).toEqual(tally);
        const sum = tally.completed + tally.skipped + tally.failed + tally.cancelled;
        expect(sum).toBe(jobs.length);
        const isGood = tally.completed + tally.skipped === jobs.length;
        expect(count("BatchCompleted")).toBe(isGood ? 1 : 0);
        if (!allowFailures && tally.failed > 0) expect(state.cancel).toBeDefined();
        if (allowFailures) expect(state.cancel).toBeUndefined();
      },
    ),
    { numRuns: 500 },
  );
});

test("a batch that awaits more does not finish, and finishes when told that nothing follows", () => {
  let state = created(0, { moreFollow: true });
  const seen = {
    requested: 0,
    tally: { completed: 0, skipped: 0, failed: 0, cancelled: 0 },
    ...{ failedJobId: "", failingJobId: "", recently: false },
  };
  expect(decide(batch, state, "look", seen)).toEqual([]);
  state = after(state, decide(batch, state, "add", { jobs: [], moreFollow: false }));
  expect(decide(batch, state, "look", seen).map(({ name }) => name)).toEqual([
    ...["BatchCompleted", "BatchFinished"],
  ]);
});

test("a failure whose facts are not told yet cancels the rest, and starts nothing that builds on them", () => {
  const state = created(2);
  const tally = { completed: 0, skipped: 0, failed: 0, cancelled: 0 };
  const seen = { requested: 2, tally, failedJobId: "", failingJobId: "job", recently: false };
  const names = decide(batch, state, "look", seen).map(({ name }) => name);
  expect(names).toContain("BatchCancelled");
  expect(names).not.toContain("BatchFailed");
  expect(names).not.toContain("BatchFinished");
});

test("nothing is added to a batch that was cancelled", () => {
  const state = created(1);
  const cancelled = after(state, decide(batch, state, "cancel", { actor: "a", reason: "b" }));
  expect(() => decide(batch, cancelled, "add", { jobs: [step(1)], moreFollow: false })).toThrow(
    expect.objectContaining({ code: "batch-ended" }),
  );
});

test("a skipped job is counted apart from completed ones, and its batch still completes", () => {
  const state = created(2);
  const tally = { completed: 1, skipped: 1, failed: 0, cancelled: 0 };
  const events = decide(batch, state, "look", {
    ...{ requested: 2, tally, failedJobId: "", failingJobId: "", recently: false },
  });
  const names = events.map(({ name }) => name);
  expect(names.slice(-2)).toEqual(["BatchCompleted", "BatchFinished"]);
  expect(names).not.toContain("BatchFailed");
  expect(after(state, events).tally).toEqual(tally);
});
