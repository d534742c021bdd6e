/** Which members of a batch have ended with their facts in the event log. */
import type { App } from "@chom/shared/service/app";
import { and, asc, eq, exists, inArray, isNotNull, isNull, lte, or, sql } from "drizzle-orm";
import { jobs } from "../tables.ts";
import { sideBySide } from "./side-by-side.ts";
import { batches, toldMembers } from "./tables.ts";
import { areFactsTold, type Told } from "./told-facts.ts";

/** Members looked up in one pass over a batch. */
const membersMax = 1_000;
const lookAgainMinMs = 300;
const lookAgainMaxMs = 60_000;

type Which = { readonly tenant: string; readonly batchId: string };

/** The row of a member's present end. */
export const isMembersEnd = and(
  eq(toldMembers.tenant, jobs.tenant),
  eq(toldMembers.family, jobs.family),
  eq(toldMembers.jobId, jobs.jobId),
  eq(toldMembers.generation, jobs.generation),
);

/**
 * Looks up the members that ended since the last look. One whose facts are still missing is looked at again after as long
 * as that has lasted already, at least 0.3 s and at most 60 s: a family that is away costs little.
 */
export async function lookUpMembers(app: App, { tenant, batchId }: Which): Promise<void> {
  const now = app.now();
  const isDue = and(eq(toldMembers.told, false), lte(toldMembers.lookAt, now));
  const rows = await app.db
    .select({ job: jobs })
    .from(jobs)
    .leftJoin(toldMembers, isMembersEnd)
    .where(
      and(
        ...[eq(jobs.tenant, tenant), eq(jobs.batchId, batchId), isNotNull(jobs.endedAt)],
        or(isNull(toldMembers.jobId), isDue),
      ),
    )
    .orderBy(sql`${toldMembers.lookAt} NULLS FIRST`, asc(jobs.jobId))
    .limit(membersMax);
  // Members about the same thing share its history: it is read once a pass.
  const told: Told = new Map();
  await sideBySide(rows, async ({ job: { family, jobId, generation, endedAt } }) => {
    const isTold = await areFactsTold(app, { tenant, family, jobId }, told);
    const sinceMs = now.getTime() - (endedAt ?? now).getTime();
    const againMs = Math.min(Math.max(sinceMs, lookAgainMinMs), lookAgainMaxMs);
    const set = { generation, told: isTold, lookAt: new Date(now.getTime() + againMs) };
    await app.db
      .insert(toldMembers)
      .values({ ...{ tenant, family, jobId, batchId }, ...set })
      .onConflictDoUpdate({
        target: [toldMembers.tenant, toldMembers.family, toldMembers.jobId],
        set,
      });
  });
}

/** Of batches that have finished nothing needs to be known. */
export async function forgetFinished(app: App): Promise<void> {
  const ofMember = [
    eq(batches.tenant, toldMembers.tenant),
    eq(batches.batchId, toldMembers.batchId),
  ];
  const isOver = and(...ofMember, inArray(batches.status, ["finished"]));
  await app.db
    .delete(toldMembers)
    .where(exists(app.db.select({ one: sql`1` }).from(batches).where(isOver)));
}
