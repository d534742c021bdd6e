/** `chom schedule …`: jobs that start by the clock. */
import { jobRequests } from "@chom/proto/job-requests";
import {
  GapPolicy,
  GetScheduleResponse,
  MisfirePolicy,
  OverlapPolicy,
  RepeatPolicy,
  Schedule,
  ScheduleSpec,
  Tick,
} from "@chom/proto/chom/scheduler/v1/schedules";
import { JobOptions } from "@chom/proto/chom/jobs/v1/control";
import type { Command } from "commander";
import {
  afterStart,
  allPages,
  connected,
  contextOption,
  type JobOptions as Common,
  leaf,
  member,
  requestIdOf,
  type Session,
  startsJob,
  wholeNumber,
} from "./command.ts";
import { durationMs, inputOf, moment } from "./dispatch-command.ts";
import { wordsToJson } from "./dispatch-words.ts";
import { exitCodes } from "./exit-codes.ts";
import { type Column, time } from "./output.ts";

/** When it runs, in a word. */
function whenOf({ spec }: Schedule): string {
  if (!spec) return "";
  if (spec.cron !== "") return `${spec.cron} (${spec.zone || "UTC"})`;
  return spec.at ? `once at ${time(spec.at)}` : `every ${spec.everySeconds} s`;
}

const stateOf = ({ paused, pauseReason, pausedUntil }: Schedule): string => {
  if (!paused) return "on";
  const until = pausedUntil ? ` until ${time(pausedUntil)}` : "";
  return `paused${until}${pauseReason ? `: ${pauseReason}` : ""}`;
};

const columns: readonly Column<Schedule>[] = [
  ["id", ({ scheduleId }) => scheduleId],
  ["name", ({ spec }) => spec?.name ?? ""],
  ["when", whenOf],
  ["job", ({ spec }) => spec?.jobName ?? ""],
  ["next", ({ nextAt }) => time(nextAt)],
  ["last", ({ lastAt, lastOutcome }) => (lastAt ? `${time(lastAt)} ${lastOutcome}` : "–")],
  ["state", stateOf],
];
const details: readonly Column<Schedule>[] = [
  ...columns,
  ["last job", ({ lastJobId }) => lastJobId],
  ["input", ({ spec }) => spec?.inputJson ?? ""],
  ["version", ({ version }) => String(version)],
  ["made by", ({ actor }) => actor],
];
const tickColumns: readonly Column<Tick>[] = [
  ["planned", ({ firstAt }) => time(firstAt)],
  ["to", ({ lastAt, ticksCount }) => (ticksCount > 1 ? time(lastAt) : "")],
  ["ticks", ({ ticksCount }) => String(ticksCount)],
  ["outcome", ({ outcome }) => outcome],
  ["reason", ({ reason }) => reason],
  ["job", ({ jobId }) => jobId],
];

/** `in Europe/Berlin` beside UTC. */
function localTime(at: Date, zone: string): string {
  const format = new Intl.DateTimeFormat("sv-SE", {
    ...{ timeZone: zone, dateStyle: "short", timeStyle: "medium" },
  });
  return `${time(at)}  ${format.format(at)} ${zone}`;
}

type AddOptions = Common & {
  cron?: string;
  zone: string;
  every?: number;
  at?: Date;
  input?: string;
  gap: GapPolicy;
  repeat: RepeatPolicy;
  misfire: MisfirePolicy;
  misfireWindow: number;
  overlap: OverlapPolicy;
  jitter: number;
  queue?: string;
};

const seconds = (ms: number): bigint => BigInt(Math.round(ms / 1_000));

function specOf(name: string, job: string, words: readonly string[], options: AddOptions) {
  const type = jobRequests[job]?.type;
  // The service names the known jobs when this is none.
  const input = type ? wordsToJson(type, words, inputOf(options.input)) : {};
  const { cron = "", zone, at, gap, repeat, misfire, overlap, queue } = options;
  return ScheduleSpec.fromPartial({
    ...{ name, cron, zone: cron === "" ? "" : zone, at, gap, repeat, misfire, overlap },
    everySeconds: seconds(options.every ?? 0),
    misfireWindowSeconds: seconds(options.misfireWindow),
    jitterSeconds: seconds(options.jitter),
    jobName: job,
    inputJson: JSON.stringify(input),
    options: queue ? JobOptions.fromPartial({ queue }) : undefined,
  });
}

const policy =
  <E extends Readonly<Record<string, string>>>(of: E) =>
  (text: string): E[keyof E] =>
    member(of, text);

function addCommand(schedule: Command): void {
  leaf(
    schedule,
    "add <name> <job> [words...]",
    "Start a job by the clock; its fields are given as key=value.",
    `
chom schedule add nightly backup.create site_id=0v9… kind=full --cron "30 2 * * *" --zone Europe/Berlin
chom schedule add tidy backup.clean --every 6h --overlap skip
chom schedule add once certificate.renew site_id=0v9… --at 2026-12-24T02:00:00Z`,
  )
    .addOption(contextOption())
    .option("--cron <pattern>", "five fields, or @hourly, @daily, @weekly, @monthly, @yearly")
    .option("--zone <zone>", "IANA time zone of the pattern", "UTC")
    .option("--every <duration>", "90s, 15m, 2h, 1d", durationMs)
    .option("--at <time>", "once", moment)
    .option("--input <json>", "the fields as JSON, as @file, or - for standard input")
    .option("--queue <queue>", "high, default or low")
    .option("--overlap <policy>", "allow, skip, queue", policy(OverlapPolicy), OverlapPolicy.SKIP)
    .option("--misfire <policy>", "skip, latest, all", policy(MisfirePolicy), MisfirePolicy.LATEST)
    .option("--misfire-window <duration>", "older ticks are missed", durationMs, 86_400_000)
    .option(
      "--gap <policy>",
      "run-after, skip: times the clocks leap over",
      policy(GapPolicy),
      GapPolicy.RUN_AFTER,
    )
    .option(
      "--repeat <policy>",
      "first, second, both: times that come twice",
      policy(RepeatPolicy),
      RepeatPolicy.FIRST,
    )
    .option("--jitter <duration>", "start up to so much later", durationMs, 0)
    .option("--request-id <id>", "your own id of the request: repeating it is safe")
    .action((name: string, job: string, words: readonly string[], options: AddOptions) =>
      connected(options, async ({ clients, output }) => {
        const requestId = requestIdOf(options);
        const spec = specOf(name, job, words, options);
        const { scheduleId, position } = await clients
          .schedules()
          .createSchedule({ requestId, spec });
        const made = await clients.schedules().getSchedule({ scheduleId, minPosition: position });
        output.one(Schedule.fromPartial(made.schedule ?? {}), columns, Schedule.toJSON);
      }),
    );
}

/** A schedule by its id, or by its name. */
async function idOf({ clients }: Session, given: string): Promise<string> {
  const page = await clients.schedules().listSchedules({
    ...{ pageSize: 500, pageToken: "", minPosition: 0n },
  });
  return page.schedules.find(({ spec }) => spec?.name === given)?.scheduleId ?? given;
}

function readCommands(schedule: Command): void {
  leaf(schedule, "list", "List schedules with their next and last runs.", "chom schedule list")
    .addOption(contextOption())
    .option("--limit <n>", "at most so many", wholeNumber, 500)
    .action((options: Common & { limit: number }) =>
      connected(options, async ({ clients, output }) => {
        const rows = await allPages(options.limit, async (pageToken, pageSize) => {
          const page = await clients
            .schedules()
            .listSchedules({ pageSize, pageToken, minPosition: 0n });
          return { rows: page.schedules, nextPageToken: page.nextPageToken };
        });
        output.many(rows, columns, Schedule.toJSON);
      }),
    );
  leaf(
    schedule,
    "show <schedule>",
    "Show one schedule and its next runs.",
    "chom schedule show nightly",
  )
    .addOption(contextOption())
    .action((given: string, options: Common) =>
      connected(options, async (session) => {
        const { clients, output } = session;
        const scheduleId = await idOf(session, given);
        const answer = await clients.schedules().getSchedule({ scheduleId, minPosition: 0n });
        const shown = Schedule.fromPartial(answer.schedule ?? {});
        output.one(shown, details, () => GetScheduleResponse.toJSON(answer));
        const zone = shown.spec?.zone || "UTC";
        for (const at of answer.upcoming) output.note(`next: ${localTime(at, zone)}`);
      }),
    );
  leaf(
    schedule,
    "history <schedule>",
    "What became of its ticks, newest first: fired, skipped or missed.",
    "chom schedule history nightly --limit 20",
  )
    .addOption(contextOption())
    .option("--limit <n>", "at most so many", wholeNumber, 50)
    .action((given: string, options: Common & { limit: number }) =>
      connected(options, async (session) => {
        const scheduleId = await idOf(session, given);
        const rows = await allPages(options.limit, async (pageToken, pageSize) => {
          const page = await session.clients
            .schedules()
            .listTicks({ scheduleId, pageSize, pageToken });
          return { rows: page.ticks, nextPageToken: page.nextPageToken };
        });
        session.output.many(rows, tickColumns, Tick.toJSON);
      }),
    );
}

type PauseOptions = Common & { for?: number };

function stateCommands(schedule: Command): void {
  leaf(
    schedule,
    "pause <schedule>",
    "Record its ticks as skipped for now.",
    'chom schedule pause nightly --for 2h --reason "maintenance"',
  )
    .addOption(contextOption())
    .option("--reason <text>", "why, for everyone who looks", "")
    .option("--for <duration>", "resume by itself after 2h, 1d …", durationMs)
    .action((given: string, options: PauseOptions) =>
      connected(options, async (session) => {
        const scheduleId = await idOf(session, given);
        const until = options.for === undefined ? undefined : new Date(Date.now() + options.for);
        const wish = { scheduleId, reason: options.reason ?? "", until };
        await session.clients.schedules().pauseSchedule(wish);
        session.output.note(`paused${until ? ` until ${time(until)}` : ""}`);
      }),
    );
  for (const [verb, summary] of [
    ["resume", "Let a paused schedule go on."],
    ["remove", "Remove a schedule; its history stays in the event log."],
  ] as const) {
    leaf(schedule, `${verb} <schedule>`, summary, `chom schedule ${verb} nightly`)
      .addOption(contextOption())
      .option("--reason <text>", "why, for the audit", "")
      .action((given: string, options: Common) =>
        connected(options, async (session) => {
          const wish = { scheduleId: await idOf(session, given), reason: options.reason ?? "" };
          const calls = session.clients.schedules();
          await (verb === "resume" ? calls.resumeSchedule(wish) : calls.removeSchedule(wish));
          session.output.note(verb === "resume" ? "resumed" : "removed");
        }),
      );
  }
}

/** Adds the group `schedule` to the program. */
export function scheduleCommands(program: Command): void {
  const schedule = program.command("schedule").description("jobs that start by the clock");
  addCommand(schedule);
  readCommands(schedule);
  stateCommands(schedule);
  startsJob(
    leaf(
      schedule,
      "run <schedule>",
      "Start its job now, beside the plan.",
      "chom schedule run nightly --wait",
    ),
  )
    .addOption(contextOption())
    .action((given: string, options: Common) =>
      connected(options, async (session) => {
        const scheduleId = await idOf(session, given);
        const wish = { scheduleId, requestId: requestIdOf(options) };
        const answer = await session.clients.schedules().runSchedule(wish);
        if (answer.jobId === "") return exitCodes.ok;
        return afterStart(session, options, answer, ({ jobId }) => ({ jobId }));
      }),
    );
}
