/** `chom dispatch`: any job by its name, with every option of the queue. */
import { readFileSync } from "node:fs";
import { JobOptions } from "@chom/proto/chom/jobs/v1/control";
import { DispatchJobResponse } from "@chom/proto/chom/jobs/v1/dispatch";
import { jobRequests } from "@chom/proto/job-requests";
import { type Command, InvalidArgumentError } from "commander";
import {
  afterStart,
  collect,
  connected,
  contextOption,
  type JobOptions as Common,
  leaf,
  requestIdOf,
  startsJob,
  waitsFor,
  wholeNumber,
} from "./command.ts";
import { fieldsIn, wordsToJson } from "./dispatch-words.ts";
import { flowFileHelp } from "./flow-file.ts";
import { startBatch, startChain } from "./start-flow.ts";

const units: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3_600, d: 86_400 };

/** `90`, `90s`, `15m`, `2h`, `1d` → milliseconds. */
export function durationMs(text: string): number {
  const [, count, unit] = /^(\d{1,9})([smhd]?)$/.exec(text) ?? [];
  if (count === undefined) throw new InvalidArgumentError("must be like 90s, 15m, 2h or 1d");
  return Number(count) * (units[unit || "s"] ?? 1) * 1_000;
}

/** RFC 3339, for commander. */
export function moment(text: string): Date {
  const time = new Date(text);
  if (Number.isNaN(time.getTime()) || !/^\d{4}-\d{2}-\d{2}T/.test(text)) {
    throw new InvalidArgumentError("must be a time like 2026-11-24T02:00:00Z");
  }
  return time;
}

type Options = Common & {
  input?: string;
  queue?: string;
  delay?: number;
  at?: Date;
  expires?: number;
  tries?: number;
  timeout?: number;
  backoff?: readonly number[];
  tag: readonly string[];
  unique?: string;
  untilStart?: boolean;
  chain?: string;
  batch?: string;
};

/** JSON of a file, or of standard input for `-`. */
export function jsonOf(file: string): unknown {
  try {
    return JSON.parse(readFileSync(file === "-" ? 0 : file, "utf8"));
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : "it cannot be read";
    throw new InvalidArgumentError(`${file} is no JSON file: ${why}`);
  }
}

/** JSON given as text, as `@file`, or as `-` for standard input. */
export function inputOf(given = "{}"): Record<string, never> {
  const text = given === "-" ? readFileSync(0, "utf8") : given;
  const json: unknown = JSON.parse(
    given.startsWith("@") ? readFileSync(given.slice(1), "utf8") : text,
  );
  if (typeof json !== "object" || json === null || Array.isArray(json)) {
    throw new InvalidArgumentError("--input must be a JSON object");
  }
  return json as Record<string, never>;
}

function optionsOf(options: Options, now: Date): JobOptions {
  const { delay, expires } = options;
  const later = (ms: number) => new Date(now.getTime() + ms);
  return JobOptions.fromPartial({
    queue: options.queue ?? "",
    tries: options.tries ?? 0,
    timeoutMs: BigInt(options.timeout ?? 0),
    backoffMs: (options.backoff ?? []).map(BigInt),
    notBefore: options.at ?? (delay === undefined ? undefined : later(delay)),
    expiresAt: expires === undefined ? undefined : later(expires),
    tags: [...options.tag],
    uniqueKey: options.unique ?? "",
    uniqueUntilStart: options.untilStart ?? false,
  });
}

const jobsHelp = (): string =>
  Object.entries(jobRequests)
    .map(([name, { type }]) => `  ${name.padEnd(18)} ${fieldsIn(type)}`)
    .join("\n");

/** Adds `dispatch` to the program. */
export function dispatchCommands(program: Command): void {
  const command = leaf(
    program,
    "dispatch [job] [words...]",
    "Start a job by its name; its fields are given as key=value. Or a chain or a batch from a file.",
    `
chom dispatch backup.create site_id=0v9… kind=full --queue high --wait
chom dispatch certificate.renew site_id=0v9… --delay 15m --tag nightly
chom dispatch backup.create --input @request.json --unique site-1 --expires 1h
chom dispatch --chain new-site.json --wait
chom dispatch --batch nightly.json --request-id nightly-2026-11-24`,
  )
    .addOption(contextOption())
    .option("--input <json>", "the fields as JSON, as @file, or - for standard input")
    .option("--queue <queue>", "high, default or low")
    .option("--delay <duration>", "start no earlier than in 90s, 15m, 2h …", durationMs)
    .option("--at <time>", "start no earlier than 2026-11-24T02:00:00Z", moment)
    .option("--expires <duration>", "cancel when it has not started by then", durationMs)
    .option("--tries <n>", "attempts in all, 1 to 100", wholeNumber)
    .option("--timeout <duration>", "for one attempt, 1s to 1d", durationMs)
    .option("--backoff <duration>", "before the next attempt; may repeat", (text, before) => [
      ...((before as readonly number[] | undefined) ?? []),
      durationMs(text),
    ])
    .option("--tag <tag>", "to find it by; may repeat", collect, [])
    .option("--unique <key>", "while one with this key is pending, that one is the answer")
    .option("--until-start", "the key is free when the job starts, not when it ends")
    .option("--chain <file>", "start this chain; - for standard input")
    .option("--batch <file>", "start this batch; - for standard input")
    .addHelpText("after", () => `\nJobs and their fields:\n${jobsHelp()}\n${flowFileHelp}`);
  startsJob(command).action((job: string | undefined, words: readonly string[], options: Options) =>
    connected(options, async (session) => {
      const { chain, batch } = options;
      if ([job, chain, batch].filter((given) => given !== undefined).length !== 1) {
        throw new InvalidArgumentError("name exactly one of a job, --chain and --batch");
      }
      if (chain !== undefined) return startChain(session, jsonOf(chain), options);
      if (batch !== undefined) return startBatch(session, jsonOf(batch), options);
      const jobName = job ?? "";
      const type = jobRequests[jobName]?.type;
      const known = Object.keys(jobRequests).toSorted().join(", ");
      if (!type) throw new InvalidArgumentError(`"${jobName}" is no job; there are ${known}`);
      const inputJson = JSON.stringify(wordsToJson(type, words, inputOf(options.input)));
      const { reason = "" } = options;
      const wish = {
        ...{ requestId: requestIdOf(options), jobName, inputJson, reason },
        options: optionsOf(options, new Date()),
      };
      const ask = () => session.clients.dispatch().dispatchJob(wish);
      let answer = await ask();
      if (!answer.accepted) session.output.note("recorded; its family has not answered yet");
      // The same request again only asks for the answer; each waits a little, and a refusal ends it.
      while (!answer.accepted && waitsFor(session, options)) answer = await ask();
      return afterStart(session, options, answer, DispatchJobResponse.toJSON);
    }),
  );
}
