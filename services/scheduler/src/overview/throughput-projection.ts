/** Counts what happens to jobs, by minute and by hour, so that a chart never reads the jobs themselves. */
import { journalEvents } from "@chom/shared/job/journal-events";
import type { Transaction } from "@chom/shared/projection/database";
import {
  type ProjectedMeta,
  type Projection,
  projection,
} from "@chom/shared/projection/projection";
import { sql } from "drizzle-orm";
import { prunedJournals } from "../history/pruned-journals.ts";
import { jobBuckets } from "./overview-tables.ts";

const units = { minute: 60_000, hour: 3_600_000 } as const;

type Counted = "queued" | "completed" | "skipped" | "failed" | "cancelled" | "retried";

/** The beginning of the span of `ms` that holds a time; spans are counted from 1970. */
export const spanStart = (time: Date, ms: number): Date =>
  new Date(Math.floor(time.getTime() / ms) * ms);

const add =
  (what: Counted) =>
  ({ tenant, family, time }: ProjectedMeta, tx: Transaction, durationMs = 0): Promise<unknown> =>
    tx
      .insert(jobBuckets)
      .values(
        (["minute", "hour"] as const).map((unit) => ({
          ...{ tenant, unit, family, startsAt: spanStart(time, units[unit]) },
          ...{ [what]: 1, durationMs },
        })),
      )
      .onConflictDoUpdate({
        target: [jobBuckets.tenant, jobBuckets.unit, jobBuckets.startsAt, jobBuckets.family],
        set: {
          [what]: sql`${jobBuckets[what]} + 1`,
          ...(durationMs > 0 ? { durationMs: sql`${jobBuckets.durationMs} + ${durationMs}` } : {}),
        },
      });

/** `job-throughput`. */
export const throughput: Projection = projection({
  name: "job-throughput",
  source: { stream: "JOURNAL", family: "*" },
  rebuild: { tables: [jobBuckets], past: prunedJournals, pauses: "prune" },
  from: journalEvents,
  on: {
    JobQueued: (_, meta, tx) => add("queued")(meta, tx),
    JobAttemptFailed: async ({ nextAt }, meta, tx) =>
      nextAt === undefined ? undefined : add("retried")(meta, tx),
    JobCompleted: ({ durationMs }, meta, tx) => add("completed")(meta, tx, Number(durationMs)),
    JobSkipped: (_, meta, tx) => add("skipped")(meta, tx),
    JobFailed: (_, meta, tx) => add("failed")(meta, tx),
    JobCancelled: (_, meta, tx) => add("cancelled")(meta, tx),
  },
});
