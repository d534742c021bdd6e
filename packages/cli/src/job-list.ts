/** `chom job list` and what lists of jobs show. */
import { Job, JobState, ListJobsRequest } from "@chom/proto/chom/jobs/v1/jobs";
import { type Command, InvalidArgumentError } from "commander";
import {
  allPages,
  connected,
  contextOption,
  leaf,
  member,
  type Session,
  wholeNumber,
} from "./command.ts";
import { type Column, time, word } from "./output.ts";

export const jobColumns: readonly Column<Job>[] = [
  ["id", ({ jobId }) => jobId],
  ["name", ({ name }) => name],
  ["state", ({ state }) => word(state)],
  ["site", ({ siteId }) => siteId],
  ["queued", ({ queuedAt }) => time(queuedAt)],
  ["ended", ({ endedAt }) => time(endedAt)],
];

/** `2026-01-31`, `2026-01-31T12:00Z`, or how long ago: `90m`, `24h`, `7d`. */
export function moment(text: string): Date {
  const [, count, unit] = /^(\d{1,6})([smhd])$/.exec(text) ?? [];
  const units: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3_600, d: 86_400 };
  if (unit) return new Date(Date.now() - Number(count) * (units[unit] ?? 0) * 1_000);
  const at = new Date(text);
  if (Number.isNaN(at.getTime())) {
    throw new InvalidArgumentError("must be a time like 2026-01-31T12:00Z, or an age like 24h");
  }
  return at;
}

export type FilterOptions = {
  family: string;
  name: string;
  queue: string;
  site: string;
  server: string;
  tag: string;
  code: string;
  chain: string;
  batch: string;
};

/** The filters that lists and bulk commands share. */
export const filters = (command: Command): Command =>
  command
    .option("--family <family>", "backup, provisioning, ssl or credentials", "")
    .option("--name <name>", "like backup.create", "")
    .option("--queue <queue>", "high, default or low", "")
    .option("--site <site-id>", "only about this site", "")
    .option("--server <server-id>", "only on this server", "")
    .option("--tag <tag>", "only with this tag", "")
    .option("--code <code>", "only with this failure code, like disk-full", "")
    .option("--chain <chain-id>", "only links of this chain", "")
    .option("--batch <batch-id>", "only of this batch", "");

type ListOptions = FilterOptions & {
  json?: boolean;
  state?: readonly JobState[];
  schedule: string;
  id: string;
  queuedAfter?: Date;
  queuedBefore?: Date;
  endedAfter?: Date;
  endedBefore?: Date;
  forgotten?: boolean;
  limit: number;
};

/** All jobs that match, at most `limit`. */
export const jobsOf = (
  { clients }: Session,
  limit: number,
  wish: Parameters<typeof ListJobsRequest.fromPartial>[0],
): Promise<Job[]> =>
  allPages(limit, async (pageToken, pageSize) => {
    const request = ListJobsRequest.fromPartial({ ...wish, pageSize, pageToken });
    const { jobs: rows, nextPageToken } = await clients.jobs().listJobs(request);
    return { rows, nextPageToken };
  });

const examples = `
chom job list --state failed --state parked
chom job list --family backup --site 0v9… --ended-after 24h
chom job list --id 0x2 --limit 20`;

/** Adds `job list`. */
export function listCommand(job: Command): void {
  filters(leaf(job, "list", "List jobs, newest first.", examples))
    .addOption(contextOption())
    .option("--state <state>", "queued, running, parked, failed …; may repeat", (text, before) => [
      ...((before as readonly JobState[] | undefined) ?? []),
      member(JobState, text),
    ])
    .option("--schedule <schedule-id>", "only started by this schedule", "")
    .option("--id <prefix>", "only ids that begin like this", "")
    .option("--queued-after <time>", "a time, or an age like 24h", moment)
    .option("--queued-before <time>", "a time, or an age like 24h", moment)
    .option("--ended-after <time>", "a time, or an age like 24h", moment)
    .option("--ended-before <time>", "a time, or an age like 24h", moment)
    .option("--forgotten", "forgotten jobs too")
    .option("--limit <n>", "at most so many", wholeNumber, 50)
    .action((options: ListOptions) =>
      connected(options, async (session) => {
        const { family, name, queue, site: siteId, server: serverId, tag, limit } = options;
        const { code: failureCode, chain: chainId, batch: batchId, schedule: scheduleId } = options;
        const { queuedAfter, queuedBefore, endedAfter, endedBefore, id: idPrefix } = options;
        const rows = await jobsOf(session, limit, {
          ...{ family, name, queue, siteId, serverId, tag, failureCode, chainId, batchId },
          ...{ scheduleId, idPrefix, states: [...(options.state ?? [])] },
          ...{ queuedAfter, queuedBefore, endedAfter, endedBefore },
          includeForgotten: options.forgotten ?? false,
        });
        session.output.many(rows, jobColumns, Job.toJSON);
      }),
    );
}
