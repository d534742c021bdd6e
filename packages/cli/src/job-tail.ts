/** `chom job tail` and `chom job resume`: what happens to all jobs, and letting a parked one go on. */
import { ResumeJobResponse, WatchJobsResponse } from "@chom/proto/chom/jobs/v1/jobs";
import { classify } from "@chom/shared/failure/failure";
import type { Command } from "commander";
import { collect, connected, contextOption, leaf, wholeNumber } from "./command.ts";
import { sentenceOf } from "./follow-job.ts";
import { time } from "./output.ts";

type TailOptions = {
  json?: boolean;
  after?: number;
  family: string;
  name: string;
  site: string;
  type: readonly string[];
  follow: boolean;
};

const lineOf = (entry: WatchJobsResponse): string => {
  const { sequence, time: at, jobId, name } = entry;
  return [sequence, time(at), jobId, name, sentenceOf(entry)].join("  ");
};

/** Cut connections are taken up again where they ended, so often in a row. */
const cutsMax = 10;

/** Adds `job tail`. */
export function tailCommand(job: Command): void {
  leaf(
    job,
    "tail",
    "Print what happens to all jobs, from now on until you leave.",
    `
chom job tail --type JobFailed --type JobExceptionOccurred
chom job tail --family backup --after 0 --no-follow --json > jobs.ndjson`,
  )
    .addOption(contextOption())
    .option("--after <sequence>", "from this sequence on instead of from now; 0: all", wholeNumber)
    .option("--family <family>", "only of this family", "")
    .option("--name <name>", "only jobs of this name", "")
    .option("--site <site-id>", "only about this site", "")
    .option("--type <type>", "JobStarted or JobProcessing …; may repeat", collect, [])
    .option("--no-follow", "end when the past is told")
    .action((options: TailOptions) =>
      connected(options, async ({ clients, output }) => {
        const leaving = new AbortController();
        process.once("SIGINT", () => leaving.abort());
        let after = options.after === undefined ? undefined : BigInt(options.after);
        for (let cuts = 0; !leaving.signal.aborted; ) {
          const fromNow = after === undefined && options.follow;
          const { family, name, site: siteId, type, follow } = options;
          const wish = {
            ...{ family, name, siteId, types: [...type], stopAtEnd: !follow },
            ...{ fromNow, afterSequence: after ?? 0n },
          };
          try {
            const stream = clients.jobs().watchJobs(wish, { signal: leaving.signal });
            for await (const entry of stream) {
              output.each(entry, lineOf, WatchJobsResponse.toJSON);
              after = entry.sequence;
              cuts = 0;
            }
            if (!follow) return;
          } catch (error) {
            cuts += 1;
            if (leaving.signal.aborted) return;
            if (classify(error).kind !== "transient" || cuts > cutsMax) throw error;
            await new Promise((resolve) => setTimeout(resolve, 500 * cuts));
          }
        }
      }),
    );
}

/** Adds `job resume`. */
export function resumeCommand(job: Command): void {
  leaf(
    job,
    "resume <job-id>",
    "Let a parked job go on, after what it waited for was done.",
    'chom job resume 0x2… --reason "freed some space"',
  )
    .addOption(contextOption())
    .option("--reason <text>", "why, for the audit", "")
    .action((jobId: string, options: { json?: boolean; reason: string }) =>
      connected(options, async ({ clients, output }) => {
        const answer = await clients.jobs().resumeJob({ jobId, reason: options.reason });
        output.note("asked; follow it with: chom job watch");
        output.one(answer, [["job", () => jobId]], ResumeJobResponse.toJSON);
      }),
    );
}
