/** `chom backup:clean`: shows which backups go, why, and what that frees; deletes them when that is confirmed. */
import { CleanVerdict, GetCleaningResponse } from "@chom/proto/chom/backup/v1/retention";
import { classify } from "@chom/shared/failure/failure";
import type { Command } from "commander";
import {
  afterStart,
  allPages,
  connected,
  contextOption,
  groupOf,
  type JobOptions,
  leaf,
  requestIdOf,
  type Session,
  startsJob,
} from "./command.ts";
import { confirmed, type Consent, environmentOption } from "./confirm.ts";
import { exitCodes } from "./exit-codes.ts";
import { followJob, isFailed } from "./follow-job.ts";
import { type Column, size, time } from "./output.ts";

const columns: readonly Column<CleanVerdict>[] = [
  ["action", ({ kept }) => (kept ? "keep" : "delete")],
  ["rule", ({ rule }) => rule],
  ["tenant", ({ tenant }) => tenant],
  ["site or database", ({ siteId, source }) => siteId || source],
  ["backup", ({ backupId }) => backupId],
  ["kind", ({ kind }) => kind],
  ["created", ({ createdAt }) => time(createdAt)],
  ["size", ({ storedBytes }) => size(storedBytes)],
];

/** Sites and databases a call; a tenant may have any number. */
const targetsAtOnce = 200;
const mostVerdicts = 1_000_000;

const preview = ({ clients }: Session): Promise<CleanVerdict[]> =>
  allPages(mostVerdicts, async (pageToken) => {
    const wish = { pageSize: targetsAtOnce, pageToken };
    const page = await clients.retention().previewClean(wish);
    return { rows: page.verdicts, nextPageToken: page.nextPageToken };
  });

type CleanOptions = JobOptions & Consent & { dryRun?: boolean };

async function clean(session: Session, options: CleanOptions): Promise<number> {
  const { clients, output } = session;
  const verdicts = await preview(session);
  const due = verdicts.filter(({ kept }) => !kept);
  const freed = due.reduce((sum, { storedBytes }) => sum + storedBytes, 0n);
  const plan = {
    verdicts: verdicts.map(CleanVerdict.toJSON),
    deletes: due.length,
    keeps: verdicts.length - due.length,
    freesBytes: String(freed),
  };
  if (!output.json && verdicts.length > 0) output.many(verdicts, columns, CleanVerdict.toJSON);
  if (verdicts.length === 0) output.note("there are no backups");
  else
    output.note(
      `${due.length} of ${verdicts.length} backups are to go, which frees ${size(freed)}`,
    );
  if (options.dryRun || due.length === 0) {
    if (output.json) output.one(plan, [], (row) => row);
    else if (due.length === 0) output.note("nothing to delete");
    return exitCodes.ok;
  }
  const question = `delete ${due.length} backups?`;
  await confirmed({ question, count: due.length, environment: session.environment }, options);
  const request = { requestId: requestIdOf(options), reason: options.reason ?? "" };
  const answer = await clients.retention().cleanBackups(request);
  if (options.wait === false) {
    return afterStart(session, options, answer, ({ jobId }) => ({ ...plan, jobId }));
  }
  const state = await followJob(clients, answer.jobId, output);
  const done = await resultOf(session, answer.jobId);
  const toJson = (row: GetCleaningResponse) => ({
    ...{ ...plan, jobId: answer.jobId },
    result: GetCleaningResponse.toJSON(row),
  });
  output.one(
    done,
    [
      ["deleted", ({ deleted }) => String(deleted)],
      ["freed", ({ freedBytes }) => size(freedBytes)],
      ["failed", ({ failed }) => (failed === 0 ? "" : `${failed} sites or databases`)],
    ],
    toJson,
  );
  return isFailed(state) ? exitCodes.jobFailed : exitCodes.ok;
}

/** A job that failed before it deleted anything has no result. */
async function resultOf({ clients }: Session, jobId: string): Promise<GetCleaningResponse> {
  try {
    return await clients.retention().getCleaning({ jobId });
  } catch (error) {
    if (classify(error).kind !== "not-found") throw error;
    return GetCleaningResponse.fromPartial({});
  }
}

function add(parent: Command, name: string): void {
  startsJob(
    leaf(
      parent,
      name,
      "Let backups go that no rule keeps: 7 days, 4 weeks, 12 months, never the newest or the newest proven.",
      `
chom backup:clean --dry-run
chom backup:clean --force --json`,
    ),
  )
    .addOption(contextOption())
    .option("--dry-run", "only show what would go, and why")
    .option("--force", "do not ask; needed without a terminal")
    .addOption(environmentOption())
    .action((options: CleanOptions) => connected(options, (session) => clean(session, options)));
}

/** Adds `backup:clean`, also as `backup clean`. */
export function cleanCommands(program: Command): void {
  add(program, "backup:clean");
  add(groupOf(program, "backup"), "clean");
}
