/** `chom job …` and `chom events …`: what runs, what ran, what happened. */
import { Event } from "@chom/proto/chom/events/v1/events";
import { CancelJobResponse, Job, JobState, WatchJobResponse } from "@chom/proto/chom/jobs/v1/jobs";
import type { Command } from "commander";
import {
  allPages,
  collect,
  connected,
  contextOption,
  leaf,
  member,
  wholeNumber,
} from "./command.ts";
import { exitCodes } from "./exit-codes.ts";
import { isFailed, sentenceOf } from "./follow-job.ts";
import { type Column, time, word } from "./output.ts";

const columns: readonly Column<Job>[] = [
  ["id", ({ jobId }) => jobId],
  ["name", ({ name }) => name],
  ["state", ({ state }) => word(state)],
  ["site", ({ siteId }) => siteId],
  ["queued", ({ queuedAt }) => time(queuedAt)],
  ["ended", ({ endedAt }) => time(endedAt)],
];
const details: readonly Column<Job>[] = [
  ...columns,
  ["family", ({ family, queue }) => `${family} (${queue})`],
  ["server", ({ serverId }) => serverId],
  ["asked by", ({ actor }) => actor],
  ["attempts", ({ attempts, tries }) => `${attempts} of ${tries}`],
  ["progress", ({ percent, progress }) => (progress === "" ? "" : `${percent} % ${progress}`)],
  ["due", ({ dueAt }) => (dueAt ? time(dueAt) : "")],
  ["reason", ({ reason }) => reason],
  ["failure", ({ failure }) => (failure ? `${failure.message} (${failure.code})` : "")],
  ["in step", ({ failure }) => failure?.step ?? ""],
  ["tags", ({ tags }) => tags.join(", ")],
];

type ListOptions = {
  json?: boolean;
  family: string;
  name: string;
  state?: readonly JobState[];
  site: string;
  server: string;
  tag: string;
  limit: number;
};

function listCommand(job: Command): void {
  leaf(
    job,
    "list",
    "List jobs, newest first.",
    `
chom job list --state failed --state parked
chom job list --family backup --site 0v9… --limit 20`,
  )
    .addOption(contextOption())
    .option("--family <family>", "backup, provisioning, ssl or credentials", "")
    .option("--name <name>", "like backup.create", "")
    .option("--state <state>", "queued, running, parked, failed …; may repeat", (text, before) => [
      ...((before as readonly JobState[] | undefined) ?? []),
      member(JobState, text),
    ])
    .option("--site <site-id>", "only about this site", "")
    .option("--server <server-id>", "only on this server", "")
    .option("--tag <tag>", "only with this tag", "")
    .option("--limit <n>", "at most so many", wholeNumber, 50)
    .action((options: ListOptions) =>
      connected(options, async ({ clients, output }) => {
        const { family, name, state = [], site, server, tag } = options;
        const rows = await allPages(options.limit, async (pageToken, pageSize) => {
          const page = await clients.jobs().listJobs({
            ...{ family, name, states: [...state], siteId: site, serverId: server, tag },
            ...{ queuedAfter: undefined, queuedBefore: undefined },
            ...{ endedAfter: undefined, endedBefore: undefined, queue: "" },
            ...{ failureCode: "", chainId: "", batchId: "", scheduleId: "", idPrefix: "" },
            includeForgotten: false,
            ...{ pageSize, pageToken, minPosition: 0n },
          });
          return { rows: page.jobs, nextPageToken: page.nextPageToken };
        });
        output.many(rows, columns, Job.toJSON);
      }),
    );
}

/** Adds the group `job` to the program. */
export function jobCommands(program: Command): void {
  const job = program.command("job").description("what runs and what ran");
  listCommand(job);
  leaf(job, "show <job-id>", "Show one job.", "chom job show 0x2…")
    .addOption(contextOption())
    .action((jobId: string, options: { json?: boolean }) =>
      connected(options, async ({ clients, output }) => {
        const answer = await clients.jobs().getJob({ jobId, minPosition: 0n });
        output.one(Job.fromPartial(answer.job ?? {}), details, Job.toJSON);
      }),
    );
  leaf(
    job,
    "watch <job-id>",
    "Show a job's journal from its beginning, then live until it ends. Exits 6 when it failed.",
    "chom job watch 0x2…\nchom job watch 0x2… --json | jq .type",
  )
    .addOption(contextOption())
    .action((jobId: string, options: { json?: boolean }) =>
      connected(options, async ({ clients, output }) => {
        let state: JobState = JobState.UNSPECIFIED;
        for await (const entry of clients.jobs().watchJob({ jobId, afterSequence: 0n })) {
          state = entry.state;
          const line = `${time(entry.time)}  ${word(state).padEnd(9)}  ${sentenceOf(entry)}`;
          output.each(entry, () => line, WatchJobResponse.toJSON);
        }
        return isFailed(state) ? exitCodes.jobFailed : exitCodes.ok;
      }),
    );
  leaf(
    job,
    "cancel <job-id>",
    "Ask for a job to end. What it did is taken back where that can be done.",
    'chom job cancel 0x2… --reason "wrong site"',
  )
    .addOption(contextOption())
    .option("--reason <text>", "why, for the audit", "")
    .action((jobId: string, options: { json?: boolean; reason: string }) =>
      connected(options, async ({ clients, output }) => {
        const answer = await clients.jobs().cancelJob({ jobId, reason: options.reason });
        output.note("asked; the job ends when its worker has stopped");
        output.one(answer, [["job", () => jobId]], CancelJobResponse.toJSON);
      }),
    );
}

type TailOptions = {
  json?: boolean;
  after: number;
  type: readonly string[];
  aggregate: string;
  id: string;
  follow: boolean;
};

/** Adds the group `events` to the program. */
export function eventCommands(program: Command): void {
  const events = program.command("events").description("every fact of the tenant");
  leaf(
    events,
    "tail",
    "Print events from a position, then live ones until you leave.",
    `
chom events tail --no-follow --json > events.ndjson
chom events tail --type BackupCompleted --type BackupFailed
chom events tail --aggregate site --id 0v9… --after 1200`,
  )
    .addOption(contextOption())
    .option("--after <position>", "only events after this position", wholeNumber, 0)
    .option("--type <type>", "only of this type, short or full name; may repeat", collect, [])
    .option("--aggregate <kind>", "only of this kind: site, certificate, backups, server …", "")
    .option("--id <id>", "only of this one; needs --aggregate", "")
    .option("--no-follow", "end when the past is told")
    .action((options: TailOptions) =>
      connected(options, async ({ clients, output }) => {
        const leaving = new AbortController();
        process.once("SIGINT", () => leaving.abort());
        const wish = {
          ...{ afterPosition: BigInt(options.after), types: [...options.type] },
          ...{ aggregate: options.aggregate, aggregateId: options.id, stopAtEnd: !options.follow },
        };
        try {
          const stream = clients.events().subscribe(wish, { signal: leaving.signal });
          for await (const { event } of stream) if (event) output.each(event, lineOf, Event.toJSON);
        } catch (error) {
          if (!leaving.signal.aborted) throw error;
        }
      }),
    );
}

const lineOf = ({ position, time: at, subject, type, actor, dataJson }: Event): string =>
  [position, time(at), subject, type.split(".").at(-1), actor, dataJson].join("  ");
