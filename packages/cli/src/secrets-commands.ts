/** `chom secrets:rotate`: keys of servers that are older than the policy allows. */
import { RotationResult, RotationState } from "@chom/proto/chom/credentials/v1/rotations";
import { classify, invalid, rejected } from "@chom/shared/failure/failure";
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
import { exitCodes } from "./exit-codes.ts";
import { followJob, isFailed } from "./follow-job.ts";
import { type Column, time } from "./output.ts";

const columns: readonly Column<RotationState>[] = [
  ["server", ({ serverId }) => serverId],
  ["name", ({ name }) => name],
  ["tenant", ({ tenant }) => tenant],
  ["last rotation", ({ lastRotatedAt }) => time(lastRotatedAt)],
  ["days overdue", ({ daysOverdue }) => (daysOverdue < 0 ? "–" : String(daysOverdue))],
  ["not now", ({ hindrance }) => hindrance],
];
const resultColumns: readonly Column<RotationResult>[] = [
  ["server", ({ serverId }) => serverId],
  ["name", ({ name }) => name],
  ["outcome", ({ outcome }) => outcome],
  ["job", ({ jobId }) => jobId],
  ["why", ({ code, message }) => (code === "" ? "" : `${message} (${code})`)],
];
const mostServers = 100_000;

type RotateOptions = JobOptions & {
  all?: boolean;
  vps?: string;
  dryRun?: boolean;
  force?: boolean;
};

async function preview(session: Session, serverId: string, force: boolean) {
  let maxAgeDays = 0;
  const servers = await allPages(mostServers, async (pageToken, pageSize) => {
    const wish = { serverId, force, pageSize, pageToken };
    const page = await session.clients.rotations().previewRotation(wish);
    maxAgeDays = page.maxAgeDays;
    return { rows: page.servers, nextPageToken: page.nextPageToken };
  });
  return { due: servers.filter(({ due }) => due), known: servers.length, maxAgeDays };
}

async function rotate(session: Session, options: RotateOptions): Promise<number> {
  const { clients, output } = session;
  const { vps: serverId = "", force = false } = options;
  if ((serverId === "") === !options.all) {
    const description = "say which: --all, or --vps=ID";
    throw invalid([{ field: "--all", description }]);
  }
  const { due, known, maxAgeDays } = await preview(session, serverId, force);
  const ready = due.filter(({ hindrance }) => hindrance === "");
  const plan = { servers: due.map(RotationState.toJSON), maxAgeDays, rotates: ready.length };
  if (!output.json && due.length > 0) output.many(due, columns, RotationState.toJSON);
  const [first] = due;
  if (ready.length > 0) output.note(`${ready.length} of ${known} keys are to be rotated`);
  else if (!first)
    output.note(`no rotation needed: none of ${known} keys is ${maxAgeDays} days old`);
  else if (serverId === "") output.note(`${due.length} keys are due, but none can be rotated now`);
  else if (!options.dryRun) {
    const why = `the server's key cannot be rotated now: ${first.hindrance}`;
    throw rejected("rotation-hindered", why);
  }
  if (options.dryRun || ready.length === 0) {
    if (output.json) output.one(plan, [], (row) => row);
    return exitCodes.ok;
  }
  const answer = await clients.rotations().rotateDueKeys({
    ...{ requestId: requestIdOf(options), serverId, force, reason: options.reason ?? "" },
  });
  if (options.wait === false) {
    return afterStart(session, options, answer, ({ jobId }) => ({ ...plan, jobId }));
  }
  const state = await followJob(clients, answer.jobId, output);
  const results = await resultsOf(session, answer.jobId);
  if (output.json) {
    const shown = { ...plan, jobId: answer.jobId, results: results.map(RotationResult.toJSON) };
    output.one(shown, [], (row) => row);
  } else if (results.length > 0) output.many(results, resultColumns, RotationResult.toJSON);
  const failed = results.filter(({ outcome }) => outcome === "failed").length;
  if (failed > 0) output.note(`${failed} of ${results.length} rotations failed`);
  return failed > 0 || isFailed(state) ? exitCodes.failed : exitCodes.ok;
}

/** A round that ended before it began a wave has no results. */
async function resultsOf({ clients }: Session, jobId: string): Promise<RotationResult[]> {
  try {
    return (await clients.rotations().getRotationRun({ jobId })).results;
  } catch (error) {
    if (classify(error).kind !== "not-found") throw error;
    return [];
  }
}

function add(parent: Command, name: string): void {
  startsJob(
    leaf(
      parent,
      name,
      "Rotate the SSH keys of servers whose key is overdue. Ends with 1 when any rotation failed.",
      `
chom secrets:rotate --all --dry-run
chom secrets:rotate --all
chom secrets:rotate --vps=0v7… --force --reason "the key was exposed"`,
    ),
  )
    .addOption(contextOption())
    .option("--all", "every server whose key is due")
    .option("--vps <server-id>", "only this server")
    .option("--dry-run", "only show what would be rotated")
    .option("--force", "rotate although the key is not due")
    .action((options: RotateOptions) => connected(options, (session) => rotate(session, options)));
}

/** Adds `secrets:rotate`, also as `secrets rotate`. */
export function secretsCommands(program: Command): void {
  add(program, "secrets:rotate");
  add(groupOf(program, "secrets", "secrets of servers"), "rotate");
}
