import { expect, test } from "vitest";
import { lineOf, workEnvironment } from "./work-command.ts";

const at = new Date("2026-01-31T12:00:00Z");

test("each option of chom work becomes a setting of the worker", () => {
  const environment = workEnvironment(
    { PATH: "/bin", CHOM_NATS_URL: "nats://broker" },
    {
      ...{ queue: "high,low", once: true, stopWhenEmpty: true, maxJobs: 3, maxTime: 60 },
      ...{ memory: 256, timeout: 30, concurrency: 4, name: "one" },
    },
  );
  expect(environment).toEqual({
    PATH: "/bin",
    CHOM_NATS_URL: "nats://broker",
    CHOM_ROLE: "worker",
    CHOM_LOG_LEVEL: "warn",
    CHOM_WORK_QUEUES: "high,low",
    CHOM_WORK_ONCE: "true",
    CHOM_WORK_STOP_WHEN_EMPTY: "true",
    CHOM_WORK_MAX_JOBS: "3",
    CHOM_WORK_MAX_TIME: "60s",
    CHOM_WORK_MEMORY: "256",
    CHOM_WORK_TIMEOUT: "30s",
    CHOM_WORKER_CONCURRENCY: "4",
    CHOM_WORK_NAME: "one",
  });
});

test("a worker listens nowhere, is no other role, and options win over the environment", () => {
  const given = {
    ...{ CHOM_LISTEN: "0.0.0.0:1", CHOM_CONTEXT_FILE: "/x", CHOM_ROLE: "api" },
    ...{ CHOM_WORK_QUEUES: "low", CHOM_WORK_MAX_JOBS: "9", CHOM_LOG_LEVEL: "debug" },
  };
  expect(workEnvironment(given, { queue: "high" })).toEqual({
    CHOM_ROLE: "worker",
    CHOM_LOG_LEVEL: "debug",
    CHOM_WORK_QUEUES: "high",
    CHOM_WORK_MAX_JOBS: "9",
  });
});

test("a job is one line when it starts and one when it ends, with the reason when it failed", () => {
  const about = { jobId: "j1", tenant: "acme", job: "key.rotate", queue: "high", attempt: 2 };
  expect(lineOf({ work: "job-started", ...about }, at)).toBe(
    "2026-01-31 12:00:00Z  j1  key.rotate  started (attempt 2, high)",
  );
  const ended = { work: "job-ended", ...about, durationMs: 1_550 } as const;
  expect(lineOf({ ...ended, outcome: "completed", code: "" }, at)).toMatch(/completed \(1\.6 s\)$/);
  expect(lineOf({ ...ended, outcome: "failed", code: "disk-full" }, at)).toMatch(
    /failed: disk-full \(1\.6 s\)$/,
  );
});
