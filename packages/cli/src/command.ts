/** What the commands share: options, the session of one invocation, and starting jobs. */
import { randomBytes } from "node:crypto";
import { Job } from "@chom/proto/chom/jobs/v1/jobs";
import { timeId } from "@chom/shared/aggregate/id";
import { Failure } from "@chom/shared/failure/failure";
import { type Command, InvalidArgumentError, Option } from "commander";
import { type Clients, connectAll, defaultContextFile, readContext } from "./context.ts";
import { exitCodeOf, exitCodes } from "./exit-codes.ts";
import { endedJob, followJob, isFailed } from "./follow-job.ts";
import { type Output, output } from "./output.ts";

export type Session = {
  readonly clients: Clients;
  readonly output: Output;
  /** Its name in the context file. */
  readonly environment: string | undefined;
};
export type Common = { json?: boolean; context?: string };

const streams = (json: boolean): Output =>
  output({
    json,
    isTerminal: process.stdout.isTTY,
    out: (text) => void process.stdout.write(text),
    err: (text) => void process.stderr.write(text),
  });

/** Adds a subcommand with `--json` and, below its help, examples. */
export function leaf(parent: Command, usage: string, summary: string, examples: string): Command {
  return parent
    .command(usage)
    .description(summary)
    .option("--json", "print JSON instead of tables and words")
    .addHelpText("after", `\nExamples:\n${examples.trim().replace(/^/gm, "  ")}`);
}

/** The group of that name, made when the program has none yet. */
export function groupOf(program: Command, name: string, summary = ""): Command {
  const found = program.commands.find((command) => command.name() === name);
  return found ?? program.command(name).description(summary);
}

export const contextOption = (): Option =>
  new Option("--context <file>", "where the services are and who asks")
    .env("CHOM_CONTEXT_FILE")
    .default(defaultContextFile);

/** What an action finds wrong with its words is usage, like what the parser finds. */
const usageOf = (error: unknown): unknown =>
  error instanceof InvalidArgumentError
    ? new Failure("invalid", "usage", error.message, { cause: error })
    : error;

/** Runs an action with an output; failures are shown and become the exit code. */
export async function reporting(
  options: Common,
  action: (output: Output) => Promise<number | void>,
): Promise<void> {
  const shown = streams(options.json ?? false);
  try {
    process.exitCode = (await action(shown)) ?? exitCodes.ok;
  } catch (error) {
    process.exitCode = exitCodeOf(shown.failure(usageOf(error)));
  }
}

/** Runs an action with clients of the services, and closes them. */
export const connected = (
  options: Common,
  action: (session: Session) => Promise<number | void>,
): Promise<void> =>
  reporting(options, async (output) => {
    const context = readContext(options.context ?? defaultContextFile);
    const clients = connectAll(context);
    try {
      return await action({ clients, output, environment: context.environment });
    } finally {
      clients.close();
    }
  });

/** A whole number, for commander. */
export function wholeNumber(text: string): number {
  if (!/^-?\d{1,15}$/.test(text)) throw new InvalidArgumentError("must be a whole number");
  return Number(text);
}

/** `wordpress` → `SITE_KIND_WORDPRESS`, from a generated enum. */
export function member<E extends Readonly<Record<string, string>>>(
  of: E,
  text: string,
): E[keyof E] {
  const key = text.toUpperCase().replaceAll("-", "_");
  const names = Object.keys(of).filter((name) => name !== "UNSPECIFIED");
  if (!names.includes(key)) {
    const known = names.map((name) => name.toLowerCase().replaceAll("_", "-"));
    throw new InvalidArgumentError(`must be one of ${known.join(", ")}`);
  }
  return of[key] as E[keyof E];
}

export const collect = (value: string, before: readonly string[] = []): readonly string[] => [
  ...before,
  value,
];

export type JobOptions = Common & { requestId?: string; reason?: string; wait?: boolean };

/** Options of commands that start a job. */
export const startsJob = (command: Command): Command =>
  command
    .option("--request-id <id>", "your own id of the request: repeating it is safe")
    .option("--reason <text>", "why, for the audit", "")
    .option("--wait", "show the job's steps and wait for its end (default on a terminal)")
    .option("--no-wait", "answer as soon as the job is accepted");

/** The request's id: the given one, or a new one. */
export const requestIdOf = ({ requestId }: JobOptions): string =>
  requestId ?? timeId(new Date(), randomBytes(10));

/** Whether a command is to stay until its job has ended. */
export const waitsFor = ({ output }: Session, { wait }: JobOptions): boolean =>
  wait ?? (output.isTerminal && !output.json);

/** After a job was accepted: says so, or follows it to its end when asked to. */
export async function afterStart<Answer extends { jobId: string }>(
  session: Session,
  options: JobOptions,
  answer: Answer,
  toJson: (answer: Answer) => unknown,
): Promise<number> {
  const { clients, output } = session;
  if (!waitsFor(session, options)) {
    output.one(answer, [["job", ({ jobId }) => jobId]], toJson);
    output.note(`follow it with: chom job watch ${answer.jobId}`);
    return exitCodes.ok;
  }
  const state = await followJob(clients, answer.jobId, output);
  if (output.json) {
    const job = await endedJob(clients, answer.jobId);
    const shown = { ...(toJson(answer) as object), job: job && Job.toJSON(job) };
    output.one(shown, [], (row) => row);
  } else output.one(answer, [["job", ({ jobId }) => jobId]], toJson);
  return isFailed(state) ? exitCodes.jobFailed : exitCodes.ok;
}

/** All pages of a list, at most `limit` rows. */
export async function allPages<Row>(
  limit: number,
  fetch: (pageToken: string, pageSize: number) => Promise<{ rows: Row[]; nextPageToken: string }>,
): Promise<Row[]> {
  const rows: Row[] = [];
  let pageToken = "";
  do {
    const page = await fetch(pageToken, Math.min(500, limit - rows.length));
    rows.push(...page.rows);
    pageToken = page.nextPageToken;
  } while (pageToken !== "" && rows.length < limit);
  return rows;
}
