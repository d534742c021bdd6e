/** `chom job …` and `chom events …`: what runs, what ran, what happened. */
import { Event } from "@chom/proto/chom/events/v1/events";
import { CancelJobResponse, JobState, WatchJobResponse } from "@chom/proto/chom/jobs/v1/jobs";
import type { Command } from "commander";
import { collect, connected, contextOption, leaf, wholeNumber } from "./command.ts";
import { exitCodes } from "./exit-codes.ts";
import { isFailed, sentenceOf } from "./follow-job.ts";
import { listCommand } from "./job-list.ts";
import { showCommand } from "./job-show.ts";
import { resumeCommand, tailCommand } from "./job-tail.ts";
import { time, word } from "./output.ts";

/** Adds the group `job` to the program. */
export function jobCommands(program: Command): void {
  const job = program.command("job").description("what runs and what ran");
  listCommand(job);
  showCommand(job);
  tailCommand(job);
  resumeCommand(job);
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
          ...{
            aggregate: options.aggregate,
            aggregateId: options.id,
            fromNow: false,
            stopAtEnd: !options.follow,
          },
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
