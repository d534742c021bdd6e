/** `chom work <family>`: runs a family's worker in the foreground, as a process of its own. */
import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { constants } from "node:os";
import { fileURLToPath } from "node:url";
import { parseEnv } from "node:util";
import { permanent } from "@chom/shared/failure/failure";
import type { WorkReport } from "@chom/shared/job/work-report";
import { families, type Family } from "@chom/shared/topology/names";
import { Argument, type Command } from "commander";
import { leaf, reporting, wholeNumber } from "./command.ts";
import { exitCodes } from "./exit-codes.ts";
import { type Output, time } from "./output.ts";

export type WorkOptions = {
  json?: boolean;
  envFile?: string;
  queue?: string;
  once?: boolean;
  stopWhenEmpty?: boolean;
  maxJobs?: number;
  maxTime?: number;
  memory?: number;
  timeout?: number;
  concurrency?: number;
  name?: string;
};

const seconds = (count: number | undefined) => (count === undefined ? undefined : `${count}s`);

/**
 * The environment of the worker: the caller's, what the options say over it. It listens nowhere, so that it can run
 * beside a service with the same settings; the command line's own settings are none of a service's.
 */
export function workEnvironment(
  given: Readonly<Record<string, string | undefined>>,
  options: WorkOptions,
): Record<string, string> {
  const wishes = {
    ...{ CHOM_ROLE: "worker", CHOM_LISTEN: undefined, CHOM_CONTEXT_FILE: undefined },
    CHOM_LOG_LEVEL: given["CHOM_LOG_LEVEL"] ?? "warn",
    CHOM_WORK_QUEUES: options.queue ?? given["CHOM_WORK_QUEUES"],
    CHOM_WORK_ONCE: options.once ? "true" : given["CHOM_WORK_ONCE"],
    CHOM_WORK_STOP_WHEN_EMPTY: options.stopWhenEmpty ? "true" : given["CHOM_WORK_STOP_WHEN_EMPTY"],
    CHOM_WORK_MAX_JOBS: options.maxJobs ?? given["CHOM_WORK_MAX_JOBS"],
    CHOM_WORK_MAX_TIME: seconds(options.maxTime) ?? given["CHOM_WORK_MAX_TIME"],
    CHOM_WORK_MEMORY: options.memory ?? given["CHOM_WORK_MEMORY"],
    CHOM_WORK_TIMEOUT: seconds(options.timeout) ?? given["CHOM_WORK_TIMEOUT"],
    CHOM_WORKER_CONCURRENCY: options.concurrency ?? given["CHOM_WORKER_CONCURRENCY"],
    CHOM_WORK_NAME: options.name ?? given["CHOM_WORK_NAME"],
  };
  return Object.fromEntries(
    Object.entries({ ...given, ...wishes }).flatMap(([name, value]) =>
      value === undefined ? [] : [[name, String(value)]],
    ),
  );
}

/** One report as a line for people. */
export function lineOf(report: WorkReport, at: Date): string {
  const stamp = time(at);
  switch (report.work) {
    case "job-started":
      return `${stamp}  ${report.jobId}  ${report.job}  started (attempt ${report.attempt}, ${report.queue})`;
    case "job-ended": {
      const why = report.code === "" ? "" : `: ${report.code}`;
      const took = `${(report.durationMs / 1_000).toFixed(1)} s`;
      return `${stamp}  ${report.jobId}  ${report.job}  ${report.outcome}${why} (${took})`;
    }
    case "worker-started":
      return `${stamp}  ${report.worker} works on ${report.queues.join(", ")}`;
    case "worker-stopping":
      return `${stamp}  stopping (${report.reason}); jobs in hand may end`;
    default:
      return `${stamp}  ${report.work === "worker-paused" ? "paused" : "working again"}`;
  }
}

const forwarded = ["SIGTERM", "SIGINT", "SIGUSR2", "SIGCONT"] as const;

/** Hands the signals on to the worker, which has a process group of its own, so that each reaches it once. */
function forwardSignals(worker: ChildProcess): () => void {
  const listeners = forwarded.map((signal) => {
    const pass = () => void worker.kill(signal);
    process.on(signal, pass);
    return () => process.off(signal, pass);
  });
  return () => {
    for (const unlisten of listeners) unlisten();
  };
}

function environmentFile(path: string): NodeJS.Dict<string> {
  try {
    return parseEnv(readFileSync(path, "utf8"));
  } catch (cause) {
    throw permanent("env-file-unreadable", `no settings could be read from ${path}`, { cause });
  }
}

/** Where a family's service begins, in the checkout that this command belongs to. */
const mainOf = (family: Family): string =>
  fileURLToPath(new URL(`../../../services/${family}/src/main.ts`, import.meta.url));

/** Runs the worker to its end; answers its exit code, 128 and the signal's number when a signal ended it. */
async function work(family: Family, options: WorkOptions, output: Output): Promise<number> {
  const given = { ...process.env, ...(options.envFile ? environmentFile(options.envFile) : {}) };
  const worker = spawn(process.execPath, [mainOf(family)], {
    env: workEnvironment(given, options),
    // What it works on comes over the channel; its log is none of the command's result.
    stdio: ["ignore", process.stderr, process.stderr, "ipc"],
    detached: true,
  });
  const unforward = forwardSignals(worker);
  worker.on("message", (message) => {
    const report = message as WorkReport;
    const at = new Date();
    output.each(
      report,
      (each) => lineOf(each, at),
      (each) => ({ time: at.toISOString(), family, ...each }),
    );
  });
  try {
    return await new Promise<number>((resolve, reject) => {
      worker.once("error", reject);
      // Not `exit`: reports that were sent last are still to come then.
      worker.once("close", (code, signal) =>
        resolve(code ?? 128 + (signal ? constants.signals[signal] : exitCodes.failed)),
      );
    });
  } finally {
    unforward();
  }
}

const examples = `
chom work backup --env-file /etc/chom/backup.env
chom work credentials --queue=high --concurrency 2
chom work provisioning --stop-when-empty --json
chom work ssl --max-jobs 100 --max-time 3600 --memory 256     # a supervisor starts it again`;

const more = `
Settings come from the environment, as the service's own do, or from --env-file; options win over both. The worker
answers no calls, builds no read models and follows no events: run one process of the service with CHOM_ROLE=api (or
without it) beside any number of workers.

Signals:
  SIGTERM, SIGINT   take nothing more, let jobs end for CHOM_DRAIN (25s), give the rest back without a spent attempt;
                    a second one ends it at once, and the broker gives its jobs to others within 30 s
  SIGUSR2           pause: take nothing; again: go on        SIGCONT  go on

Exit codes:
  0 stopped, or done (--once, --stop-when-empty, --max-jobs, --max-time)   12 --memory was reached
  1 it did not start, broke, or a second signal ended it   2 usage   128 + n  killed by signal n`;

/** Adds the command to the program. */
export function workCommands(program: Command): void {
  leaf(program, "work", "Run a family's worker in the foreground.", examples)
    .addHelpText("after", more)
    .addArgument(new Argument("<family>", "whose jobs").choices(families))
    .option("--queue <queues>", "only these, in this order: high,default,low")
    .option("--once", "one look: do one job, or none when there is none, and end")
    .option("--stop-when-empty", "end at the first look that finds nothing in any of the queues")
    .option("--max-jobs <n>", "end after taking so many, failed ones too", wholeNumber)
    .option("--max-time <s>", "end after so many seconds, between two jobs", wholeNumber)
    .option(
      "--memory <mb>",
      "end with 12 at so much resident memory, between two jobs",
      wholeNumber,
    )
    .option("--timeout <s>", "no attempt takes longer, whatever its job allows", wholeNumber)
    .option("--concurrency <n>", "jobs at a time", wholeNumber)
    .option("--name <name>", "what journals call this worker; default <family>@<host>.<pid>")
    .option("--env-file <file>", "settings as NAME=value lines")
    .action((family: Family, options: WorkOptions) =>
      reporting(options, (output) => work(family, options, output)),
    );
}
