import { expect, test } from "vitest";
import { exitCodeOf, noLimits, placesLeft, reasonToStop, type WorkLimits } from "./work-limits.ts";

const idle = { taken: 0, elapsedMs: 0, memoryBytes: 0, foundEmpty: false };
const limited = (more: Partial<WorkLimits>): WorkLimits => ({ ...noLimits, ...more });

test("without limits nothing ends a worker", () => {
  const worn = { taken: 1e9, elapsedMs: 1e12, memoryBytes: 1e12, foundEmpty: true };
  expect(reasonToStop(noLimits, worn)).toBeUndefined();
});

test("a worker ends when it has taken as many jobs as it may", () => {
  expect(reasonToStop(limited({ maxJobs: 3 }), { ...idle, taken: 2 })).toBeUndefined();
  expect(reasonToStop(limited({ maxJobs: 3 }), { ...idle, taken: 3 })).toBe("max-jobs");
});

test("a worker ends when its time is over", () => {
  const limits = limited({ maxTimeMs: 1_000 });
  expect(reasonToStop(limits, { ...idle, elapsedMs: 999 })).toBeUndefined();
  expect(reasonToStop(limits, { ...idle, elapsedMs: 1_000 })).toBe("max-time");
});

test("a worker ends at its memory limit, with the exit code 12", () => {
  const limits = limited({ memoryBytes: 100 });
  expect(reasonToStop(limits, { ...idle, memoryBytes: 99 })).toBeUndefined();
  expect(reasonToStop(limits, { ...idle, memoryBytes: 100 })).toBe("memory");
  expect((["memory", "empty", "max-time", "max-jobs"] as const).map(exitCodeOf)).toEqual([
    12, 0, 0, 0,
  ]);
});

test("an empty look ends a worker only when it was asked to stop when empty", () => {
  expect(reasonToStop(noLimits, { ...idle, foundEmpty: true })).toBeUndefined();
  const limits = limited({ stopWhenEmpty: true });
  expect(reasonToStop(limits, idle)).toBeUndefined();
  expect(reasonToStop(limits, { ...idle, foundEmpty: true })).toBe("empty");
});

test("of several reasons memory is told first, then the empty queue, then time, then the number of jobs", () => {
  const all = limited({ memoryBytes: 1, stopWhenEmpty: true, maxTimeMs: 1, maxJobs: 1 });
  const seen = { taken: 1, elapsedMs: 1, memoryBytes: 1, foundEmpty: true };
  expect(reasonToStop(all, seen)).toBe("memory");
  expect(reasonToStop(all, { ...seen, memoryBytes: 0 })).toBe("empty");
  expect(reasonToStop(all, { ...seen, memoryBytes: 0, foundEmpty: false })).toBe("max-time");
});

test("no more jobs are taken at a time than may still be taken in all", () => {
  const limits = limited({ maxJobs: 5 });
  expect(placesLeft(limits, { concurrency: 8, running: 0, taken: 0 })).toBe(5);
  expect(placesLeft(limits, { concurrency: 8, running: 2, taken: 4 })).toBe(1);
  expect(placesLeft(limits, { concurrency: 2, running: 2, taken: 4 })).toBe(0);
  expect(placesLeft(noLimits, { concurrency: 8, running: 3, taken: 99 })).toBe(5);
});
