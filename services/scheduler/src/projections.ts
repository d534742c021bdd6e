/** Folds the journals of all families into the table `jobs`. */
import type { JournalEntry } from "@chom/shared/job/journal";
import { journalEvents } from "@chom/shared/job/journal-events";
import type { Transaction } from "@chom/shared/projection/database";
import {
  type ProjectedMeta,
  type Projection,
  projection,
} from "@chom/shared/projection/projection";
import { and, eq } from "drizzle-orm";
import { changeOf } from "./job-view.ts";
import { prunedJournals } from "./history/pruned-journals.ts";
import { jobs } from "./tables.ts";

/** What a new job has not got yet. */
const afresh = {
  ...{ attempts: 0, percent: 0, progress: "", forgotten: false, generation: 1 },
  ...{ failureCode: "", failureKind: "", failureMessage: "", failureStep: "" },
  ...{ startedAt: null, endedAt: null, endedSequence: null },
};

async function apply(entry: JournalEntry, meta: ProjectedMeta, tx: Transaction): Promise<void> {
  const { tenant, id: jobId, family } = meta;
  const change = changeOf(entry);
  if (entry.name === "JobQueued") {
    // `changeOf` gives every column without a default for this entry.
    const row = { ...change, tenant, jobId, family } as typeof jobs.$inferInsert;
    const target = [jobs.tenant, jobs.jobId, jobs.family];
    // An id may be used again once its first journal was pruned; then it is a new job.
    await tx
      .insert(jobs)
      .values(row)
      .onConflictDoUpdate({ target, set: { ...afresh, ...row } });
  } else if (Object.keys(change).length > 0) {
    const whose = and(eq(jobs.tenant, tenant), eq(jobs.jobId, jobId), eq(jobs.family, family));
    await tx.update(jobs).set(change).where(whose);
  }
}

const names = Object.keys(journalEvents) as (keyof typeof journalEvents)[];

/** `jobs`: one row a job. */
export const jobList: Projection = projection({
  name: "jobs",
  source: { stream: "JOURNAL", family: "*" },
  rebuild: { tables: [jobs], past: prunedJournals, pauses: "prune" },
  from: journalEvents,
  on: Object.fromEntries(
    names.map((name) => [
      name,
      (data: unknown, meta: ProjectedMeta, tx: Transaction) =>
        apply({ name, data, meta, traceparent: "" } as JournalEntry, meta, tx),
    ]),
  ),
});
