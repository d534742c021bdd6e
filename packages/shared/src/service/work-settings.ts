/** Which part of a service a process plays, and the limits of a worker; `chom work` sets them. */
import { queues } from "../topology/names.ts";
import type { Queue } from "../job/job.ts";
import type { WorkLimits } from "../job/work-limits.ts";
import { durationMs, flag, int, list, oneOf, text, type Values } from "./settings.ts";
import { workerNameProblem } from "../input/names.ts";

const optional = { fallback: undefined };
const dayMs = 86_400_000;

/** Readers of the settings; the limits belong to the role `worker`. */
export const workReaders = {
  /** `all`: everything; `api`: all but the work; `worker`: only the work. */
  role: oneOf("CHOM_ROLE", ["all", "api", "worker"], { fallback: "all" }),
  workQueues: list("CHOM_WORK_QUEUES", optional),
  workOnce: flag("CHOM_WORK_ONCE", { fallback: false }),
  workStopWhenEmpty: flag("CHOM_WORK_STOP_WHEN_EMPTY", { fallback: false }),
  workMaxJobs: int("CHOM_WORK_MAX_JOBS", { min: 1, max: 1_000_000_000, ...optional }),
  workMaxTimeMs: durationMs("CHOM_WORK_MAX_TIME", { min: 1_000, max: 365 * dayMs, ...optional }),
  /** MB of 1,048,576 bytes, as Laravel counts. */
  workMemoryMb: int("CHOM_WORK_MEMORY", { min: 1, max: 1_048_576, ...optional }),
  workTimeoutMs: durationMs("CHOM_WORK_TIMEOUT", { min: 1_000, max: dayMs, ...optional }),
  workName: text("CHOM_WORK_NAME", optional),
} as const;

export type WorkSettings = Values<typeof workReaders>;

const isQueue = (name: string): name is Queue => (queues as readonly string[]).includes(name);

/** What is wrong with the settings taken together; each line names its variable. */
export function workProblems(settings: WorkSettings): string[] {
  const { role, workQueues, workName } = settings;
  const problems: string[] = [];
  const isListed = workQueues !== undefined;
  const repeats = isListed && new Set(workQueues).size !== workQueues.length;
  if (isListed && (workQueues.length === 0 || !workQueues.every(isQueue) || repeats)) {
    problems.push(`CHOM_WORK_QUEUES must list ${queues.join(", ")}, each once at most`);
  }
  const nameProblem = workName === undefined ? undefined : workerNameProblem(workName);
  if (nameProblem) problems.push(`CHOM_WORK_NAME ${nameProblem}`);
  const ends = {
    CHOM_WORK_ONCE: settings.workOnce,
    CHOM_WORK_STOP_WHEN_EMPTY: settings.workStopWhenEmpty,
    CHOM_WORK_MAX_JOBS: settings.workMaxJobs,
    CHOM_WORK_MAX_TIME: settings.workMaxTimeMs,
    CHOM_WORK_MEMORY: settings.workMemoryMb,
  };
  for (const [variable, value] of Object.entries(ends)) {
    if (role !== "worker" && value) problems.push(`${variable} belongs to CHOM_ROLE=worker`);
  }
  return problems;
}

/** The limits that the settings give a worker, and how many jobs it may have in hand. */
export function workPlan(
  settings: WorkSettings,
  workerConcurrency: number,
): { limits: WorkLimits; concurrency: number } {
  const { workOnce, workQueues, workMemoryMb } = settings;
  const limits: WorkLimits = {
    queues: (workQueues ?? queues).filter(isQueue),
    stopWhenEmpty: workOnce || settings.workStopWhenEmpty,
    maxJobs: workOnce ? 1 : settings.workMaxJobs,
    maxTimeMs: settings.workMaxTimeMs,
    memoryBytes: workMemoryMb === undefined ? undefined : workMemoryMb * 1_048_576,
  };
  return { limits, concurrency: workOnce ? 1 : workerConcurrency };
}
