/** Looks at the jobs of chains and batches that are under way, and tells the flows how they ended. */
import { JobState } from "@chom/proto/chom/jobs/v1/jobs";
import { hashId } from "@chom/shared/aggregate/id";
import type { App } from "@chom/shared/service/app";
import { and, asc, eq, inArray, isNull, ne, or, sql } from "drizzle-orm";
import { jobControl } from "../job-control.ts";
import { jobs } from "../tables.ts";
import { type BatchState, batch, batchSpecOf, memberId, stepsOf, type Tally } from "./batch.ts";
import { chain, type LinkEnd } from "./chain.ts";
import { sideBySide } from "./side-by-side.ts";
import { startStep } from "./start-step.ts";
import { areFactsTold } from "./told-facts.ts";
import { forgetFinished, isMembersEnd, lookUpMembers } from "./told-members.ts";
import { batches, chains, refusedJobs, toldMembers } from "./tables.ts";

const flowsMax = 500;
/** Jobs asked for, or cancelled, in one pass over a batch. */
const jobsMax = 1_000;
const toldEveryMs = 1_000;

const outcomes: Readonly<Record<string, LinkEnd["outcome"]>> = {
  [JobState.COMPLETED]: "completed",
  [JobState.SKIPPED]: "skipped",
  [JobState.FAILED]: "failed",
  [JobState.CANCELLED]: "cancelled",
};

/** Tells every chain whose link has ended, also one that failed and ended well after a retry. */
export async function lookAtChains(app: App, signal: AbortSignal): Promise<void> {
  const isJob = and(eq(jobs.tenant, chains.tenant), eq(jobs.jobId, chains.jobId));
  const isBatch = and(eq(batches.tenant, chains.tenant), eq(batches.batchId, chains.jobId));
  const isRefused = and(eq(refusedJobs.tenant, chains.tenant), eq(refusedJobs.jobId, chains.jobId));
  const succeeded = inArray(jobs.state, [JobState.COMPLETED, JobState.SKIPPED]);
  const hasEnded = or(
    inArray(jobs.state, Object.keys(outcomes) as JobState[]),
    eq(batches.status, "finished"),
    sql`${refusedJobs.jobId} IS NOT NULL`,
  );
  const rows = await app.db
    .select({ chain: chains, job: jobs, batch: batches })
    .from(chains)
    .leftJoin(jobs, isJob)
    .leftJoin(batches, isBatch)
    .leftJoin(refusedJobs, isRefused)
    .where(
      or(and(eq(chains.status, "running"), hasEnded), and(eq(chains.status, "failed"), succeeded)),
    )
    .orderBy(asc(chains.createdAt))
    .limit(flowsMax);
  for (const row of rows) {
    if (signal.aborted) return;
    const { tenant, chainId, jobId } = row.chain;
    // The next link may build on this one's facts, so they are told first.
    if (row.job && !(await areFactsTold(app, row.job))) continue;
    const outcome = row.job ? outcomes[row.job.state] : batchOutcome(row.batch);
    const { siteId = "", serverId = "" } = row.job ?? {};
    const end: LinkEnd = { chainId, jobId, outcome: outcome ?? "refused", siteId, serverId };
    // A retry of the same job may end the same way again: the look is part of what makes the event.
    const eventSeed = hashId("chain-end", chainId, jobId, end.outcome, row.job?.generation ?? 1);
    await app.handle(chain, chainId, "end", end, { tenant, actor: "system", eventSeed });
  }
}

function batchOutcome(row: typeof batches.$inferSelect | null): LinkEnd["outcome"] | undefined {
  if (!row) return undefined;
  if (row.failedCount > 0 && !row.allowFailures) return "failed";
  return row.cancelled ? "cancelled" : "completed";
}

type Which = { readonly tenant: string; readonly batchId: string };

/** The set of a batch's members by their ends. A job counts once its facts are told: what follows may build on them. */
async function tallyOf(app: App, { tenant, batchId }: Which) {
  const count = sql<number>`count(*)::int`;
  const ofJobs = await app.db
    .select({
      ...{ state: jobs.state, count, example: sql<string>`min(${jobs.jobId})` },
      isTold: sql<boolean>`coalesce(${toldMembers.told}, false)`,
    })
    .from(jobs)
    .leftJoin(toldMembers, isMembersEnd)
    .where(and(eq(jobs.tenant, tenant), eq(jobs.batchId, batchId)))
    .groupBy(jobs.state, toldMembers.told);
  const ofChains = await app.db
    .select({ status: chains.status, count, example: sql<string>`min(${chains.chainId})` })
    .from(chains)
    .where(and(eq(chains.tenant, tenant), eq(chains.batchId, batchId)))
    .groupBy(chains.status);
  const [refused] = await app.db
    .select({ count, example: sql<string>`coalesce(min(${refusedJobs.jobId}), '')` })
    .from(refusedJobs)
    .where(and(eq(refusedJobs.tenant, tenant), eq(refusedJobs.batchId, batchId)));
  const ends = [
    ...ofJobs
      .filter(({ isTold }) => isTold)
      .map((row) => ({ ...row, outcome: outcomes[row.state] })),
    ...ofChains.map((row) => ({ ...row, outcome: chainOutcomes[row.status] })),
    { count: refused?.count ?? 0, example: refused?.example ?? "", outcome: "failed" as const },
  ];
  const of = (outcome: keyof Tally) =>
    ends.reduce((sum, end) => sum + (end.outcome === outcome ? end.count : 0), 0);
  const failed = ends.find((end) => end.outcome === "failed" && end.count > 0);
  const tally = {
    ...{ completed: of("completed"), skipped: of("skipped") },
    ...{ failed: of("failed"), cancelled: of("cancelled") },
  };
  const failing = failed ?? ofJobs.find(({ state }) => outcomes[state] === "failed");
  return { tally, failedJobId: failed?.example ?? "", failingJobId: failing?.example ?? "" };
}

const chainOutcomes: Readonly<Record<string, keyof Tally>> = {
  ...{ completed: "completed", failed: "failed", cancelled: "cancelled" },
};

/** Asks for the next jobs of a batch; answers how many are asked for then. */
async function requestMore(app: App, which: Which, state: BatchState): Promise<number> {
  if (state.cancel || state.requested >= state.jobsCount) return state.requested;
  const { tenant, batchId } = which;
  const { queue, name } = batchSpecOf(state);
  const next = stepsOf(state).slice(state.requested, state.requested + jobsMax);
  await sideBySide([...next.entries()], async ([index, step]) => {
    await startStep(app, step, {
      ...{ tenant, batchId, queue, actor: "system", causationId: batchId },
      id: memberId(batchId, state.requested + index),
      reason: `batch ${name || batchId}`,
    });
  });
  return state.requested + next.length;
}

/** Asks for the end of what has not ended; a wish is one wish however often it is told. */
async function cancelRest(app: App, which: Which, { cancel }: BatchState): Promise<void> {
  if (!cancel) return;
  const { tenant, batchId } = which;
  const { actor, reason } = cancel;
  const cause = { tenant, actor, causationId: batchId };
  const open = await app.db
    .select({ jobId: jobs.jobId, family: jobs.family })
    .from(jobs)
    .where(and(eq(jobs.tenant, tenant), eq(jobs.batchId, batchId), isNull(jobs.endedAt)))
    .limit(jobsMax);
  await sideBySide(open, async ({ jobId, family }) => {
    const wish = { jobId, family, verb: "cancel", actor, reason, aboutSequence: 0n };
    const eventSeed = hashId("batch-cancel", batchId, jobId);
    await app.handle(jobControl, jobId, "request", wish, { ...cause, eventSeed });
  });
  const running = await app.db
    .select({ chainId: chains.chainId })
    .from(chains)
    .where(
      and(eq(chains.tenant, tenant), eq(chains.batchId, batchId), eq(chains.status, "running")),
    )
    .limit(jobsMax);
  await sideBySide(running, async ({ chainId }) => {
    const eventSeed = hashId("batch-cancel", batchId, chainId);
    await app.handle(chain, chainId, "cancel", { actor, reason }, { ...cause, eventSeed });
  });
}

/** Looks at every batch that has not finished. */
export async function lookAtBatches(app: App, signal: AbortSignal): Promise<void> {
  await forgetFinished(app);
  const open = await app.db
    .select()
    .from(batches)
    .where(ne(batches.status, "finished"))
    .orderBy(asc(batches.createdAt))
    .limit(flowsMax);
  for (const { tenant, batchId, toldAt } of open) {
    if (signal.aborted) return;
    await lookAtBatch(app, { tenant, batchId }, toldAt);
  }
}

async function lookAtBatch(app: App, which: Which, toldAt: Date): Promise<void> {
  const { tenant, batchId } = which;
  const { state, sequence } = await app.load(batch, tenant, batchId);
  const requested = await requestMore(app, which, state);
  await cancelRest(app, which, state);
  await lookUpMembers(app, which);
  const tallied = await tallyOf(app, which);
  const recently = app.now().getTime() - toldAt.getTime() < toldEveryMs;
  const seen = { requested, ...tallied, recently };
  // Whatever came behind this sequence is looked at anew.
  const eventSeed = hashId("batch-look", batchId, sequence);
  await app.handle(batch, batchId, "look", seen, { tenant, actor: "system", eventSeed });
}
