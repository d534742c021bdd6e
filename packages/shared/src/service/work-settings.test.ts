import { expect, test } from "vitest";
import { readSettings } from "./settings.ts";
import { workPlan, workProblems, workReaders } from "./work-settings.ts";

const read = (environment: Record<string, string>) => readSettings(workReaders, environment);

test("without settings a process plays every part and works on all queues for ever", () => {
  const settings = read({});
  expect(settings.role).toBe("all");
  expect(workProblems(settings)).toEqual([]);
  expect(workPlan(settings, 8)).toEqual({
    concurrency: 8,
    limits: {
      queues: ["high", "default", "low"],
      stopWhenEmpty: false,
      maxJobs: undefined,
      maxTimeMs: undefined,
      memoryBytes: undefined,
    },
  });
});

test("once is one look for one job at a time", () => {
  const plan = workPlan(read({ CHOM_ROLE: "worker", CHOM_WORK_ONCE: "true" }), 8);
  expect(plan).toMatchObject({ concurrency: 1, limits: { maxJobs: 1, stopWhenEmpty: true } });
});

test("queues keep the order in which they are listed, and units are megabytes and milliseconds", () => {
  const settings = read({
    CHOM_ROLE: "worker",
    CHOM_WORK_QUEUES: "low, high",
    CHOM_WORK_MEMORY: "128",
    CHOM_WORK_MAX_TIME: "90s",
    CHOM_WORK_MAX_JOBS: "7",
  });
  expect(workProblems(settings)).toEqual([]);
  expect(workPlan(settings, 2)).toEqual({
    concurrency: 2,
    limits: {
      queues: ["low", "high"],
      stopWhenEmpty: false,
      maxJobs: 7,
      maxTimeMs: 90_000,
      memoryBytes: 134_217_728,
    },
  });
});

test.each([
  ["an unknown queue", { CHOM_WORK_QUEUES: "high,urgent" }, "CHOM_WORK_QUEUES"],
  ["a queue listed twice", { CHOM_WORK_QUEUES: "high,high" }, "CHOM_WORK_QUEUES"],
  ["no queue at all", { CHOM_WORK_QUEUES: "," }, "CHOM_WORK_QUEUES"],
  ["a name with a blank", { CHOM_WORK_NAME: "my worker" }, "CHOM_WORK_NAME"],
  ["an end for a process that answers calls", { CHOM_WORK_ONCE: "true" }, "CHOM_WORK_ONCE"],
  ["a limit in the role api", { CHOM_ROLE: "api", CHOM_WORK_MEMORY: "1" }, "CHOM_WORK_MEMORY"],
])("%s is refused with the name of its setting", (_, environment, variable) => {
  expect(workProblems(read(environment as Record<string, string>))).toEqual([
    expect.stringContaining(variable),
  ]);
});

test("an unknown role and a setting nobody knows are refused", () => {
  expect(() => read({ CHOM_ROLE: "boss", CHOM_WORK_FOREVER: "true" })).toThrow(
    /CHOM_ROLE must be one of all, api, worker[\s\S]*CHOM_WORK_FOREVER is not a setting/,
  );
});
