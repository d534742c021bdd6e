/** Which jobs of a family have not ended, and when each is due: what the sweeper looks through. */
import { and, eq, isNotNull, lt, sql } from "drizzle-orm";
import { bigint, pgSchema, primaryKey, text, timestamp } from "drizzle-orm/pg-core";
import type { Database, Transaction } from "../projection/database.ts";
import { type ProjectedMeta, type Projection, projection } from "../projection/projection.ts";
import type { Queue } from "./job.ts";
import { journalEvents } from "./journal-events.ts";
import type { WorkItem } from "./work-queue.ts";

/** An attempt in progress, or a wait for a lease, is looked at again after this long. */
const lookAgainMs = 60_000;

/** DDL of the table, to be run before the projection starts; may be repeated. */
export const openJobsDdl = (schema: string): string => `
CREATE TABLE IF NOT EXISTS "${schema}".open_jobs (
  tenant text NOT NULL,
  job_id text NOT NULL,
  job_name text NOT NULL,
  queue text NOT NULL,
  due_at timestamptz,
  position bigint NOT NULL,
  PRIMARY KEY (tenant, job_id)
);
CREATE INDEX IF NOT EXISTS open_jobs_due ON "${schema}".open_jobs (due_at) WHERE due_at IS NOT NULL;`;

const tableOf = (schema: string) =>
  pgSchema(schema).table(
    "open_jobs",
    {
      tenant: text("tenant").notNull(),
      jobId: text("job_id").notNull(),
      jobName: text("job_name").notNull(),
      queue: text("queue").notNull(),
      // Null: not waiting for time. Parked and failed jobs wait for a person.
      dueAt: timestamp("due_at", { withTimezone: true }),
      position: bigint("position", { mode: "number" }).notNull(),
    },
    (table) => [primaryKey({ columns: [table.tenant, table.jobId] })],
  );
type Table = ReturnType<typeof tableOf>;

/** A job that should be in the queue, in a schedule or in a worker's hands. */
export type DueJob = { readonly item: WorkItem; readonly position: number };

export type OpenJobs = {
  readonly projection: Projection;
  /** Jobs that were due before a time, oldest first. */
  due(db: Database, before: Date, limit: number): Promise<DueJob[]>;
};

const later = (time: Date): Date => new Date(time.getTime() + lookAgainMs);

function projectionOf(table: Table, family: string): Projection {
  const whose = (meta: ProjectedMeta) =>
    and(eq(table.tenant, meta.tenant), eq(table.jobId, meta.id));
  const due = (at: Date | null, meta: ProjectedMeta, tx: Transaction) =>
    tx.update(table).set({ dueAt: at, position: meta.position }).where(whose(meta));
  const gone = (meta: ProjectedMeta, tx: Transaction) => tx.delete(table).where(whose(meta));
  return projection({
    name: "open-jobs",
    source: { stream: "JOURNAL", family },
    from: journalEvents,
    on: {
      JobQueued: ({ jobName, queue, notBefore }, meta, tx) =>
        tx
          .insert(table)
          .values({
            tenant: meta.tenant,
            jobId: meta.id,
            jobName,
            queue,
            dueAt: notBefore ?? meta.time,
            position: meta.position,
          })
          .onConflictDoNothing(),
      JobWaiting: (_, meta, tx) => due(later(meta.time), meta, tx),
      JobDeferred: ({ until }, meta, tx) => due(until ?? meta.time, meta, tx),
      // A worker has it; if that dies, the item comes back. Swept only when both were lost.
      JobStarted: (_, meta, tx) => due(later(meta.time), meta, tx),
      JobAttemptFailed: ({ nextAt }, meta, tx) => due(nextAt ?? later(meta.time), meta, tx),
      JobParked: (_, meta, tx) => due(null, meta, tx),
      JobResumed: (_, meta, tx) => due(meta.time, meta, tx),
      JobCancelRequested: (_, meta, tx) => due(meta.time, meta, tx),
      // Kept without a due time, because a retry knows neither name nor queue.
      JobFailed: (_, meta, tx) => due(null, meta, tx),
      JobRetried: (_, meta, tx) => due(meta.time, meta, tx),
      JobCompleted: (_, meta, tx) => gone(meta, tx),
      JobSkipped: (_, meta, tx) => gone(meta, tx),
      JobCancelled: (_, meta, tx) => gone(meta, tx),
      JobForgotten: (_, meta, tx) => gone(meta, tx),
    },
  });
}

/** The projection of one family into its service's schema, and the question the sweeper asks. */
export function openJobs(schema: string, family: string): OpenJobs {
  const table = tableOf(schema);
  return {
    projection: projectionOf(table, family),
    async due(db, before, limit) {
      const rows = await db
        .select()
        .from(table)
        .where(and(isNotNull(table.dueAt), lt(table.dueAt, before)))
        .orderBy(sql`${table.dueAt} asc`)
        .limit(limit);
      return rows.map(({ tenant, jobId, queue, position }) => ({
        // Journals hold no other queues: dispatch checks them.
        item: { family, queue: queue as Queue, tenant, jobId },
        position,
      }));
    },
  };
}
