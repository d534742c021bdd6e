/** Which jobs of a family have not ended, and when each is due: what the sweeper looks through. */
import {
  and,
  asc,
  count,
  eq,
  inArray,
  isNotNull,
  isNull,
  lt,
  lte,
  notInArray,
  type SQL,
  sql,
} from "drizzle-orm";
import { bigint, boolean, pgSchema, primaryKey, text, timestamp } from "drizzle-orm/pg-core";
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
ALTER TABLE "${schema}".open_jobs ADD COLUMN IF NOT EXISTS expires_at timestamptz;
CREATE INDEX IF NOT EXISTS open_jobs_expiry ON "${schema}".open_jobs (expires_at) WHERE expires_at IS NOT NULL;
ALTER TABLE "${schema}".open_jobs ADD COLUMN IF NOT EXISTS admitted_at timestamptz;
DROP INDEX IF EXISTS "${schema}".open_jobs_unadmitted;
CREATE INDEX IF NOT EXISTS open_jobs_waiting ON "${schema}".open_jobs (queue, tenant, due_at, position)
  WHERE admitted_at IS NULL;
CREATE INDEX IF NOT EXISTS open_jobs_coming ON "${schema}".open_jobs (due_at) WHERE admitted_at IS NULL;
CREATE INDEX IF NOT EXISTS open_jobs_due ON "${schema}".open_jobs (due_at) WHERE due_at IS NOT NULL;
ALTER TABLE "${schema}".open_jobs ADD COLUMN IF NOT EXISTS untold_since timestamptz;
ALTER TABLE "${schema}".open_jobs ADD COLUMN IF NOT EXISTS is_over boolean NOT NULL DEFAULT false;
CREATE INDEX IF NOT EXISTS open_jobs_untold ON "${schema}".open_jobs (untold_since)
  WHERE untold_since IS NOT NULL;`;

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
      /** Since when it may be in the queue; null: it waits here for its time and its turn. */
      admittedAt: timestamp("admitted_at", { withTimezone: true }),
      // Null once it started: from then on it cannot expire.
      expiresAt: timestamp("expires_at", { withTimezone: true }),
      /** It ended then, deciding facts of which nobody has said here that they are in the event log. */
      untoldSince: timestamp("untold_since", { withTimezone: true }),
      /** Ended for good: the row is only here for those facts. */
      isOver: boolean("is_over").notNull().default(false),
      position: bigint("position", { mode: "number" }).notNull(),
    },
    (table) => [primaryKey({ columns: [table.tenant, table.jobId] })],
  );
type Table = ReturnType<typeof tableOf>;
type Row = Table["$inferSelect"];

/** A job that should be in the queue, in a schedule or in a worker's hands. */
export type DueJob = { readonly item: WorkItem; readonly position: number };

export type Claim = {
  readonly queue: Queue;
  readonly tenant: string;
  readonly there: readonly string[];
  readonly room: number;
  readonly now: Date;
};

export type OpenJobs = {
  readonly projection: Projection;
  /** Jobs that were due before a time, oldest first. */
  due(db: Database, before: Date, limit: number): Promise<DueJob[]>;
  /** They were looked at and are well: none is due again before a time, unless something happens to it. */
  looked(db: Database, jobs: readonly DueJob[], again: Date): Promise<void>;
  /** Jobs that ended before a time, whose facts may be untold. */
  untold(db: Database, before: Date, limit: number): Promise<DueJob[]>;
  /** The facts of these are told. */
  told(db: Database, jobs: readonly DueJob[]): Promise<void>;
  /** The facts of all that ended before a time are told. */
  toldBefore(db: Database, before: Date): Promise<void>;
  /** Jobs that never started and should have by then, longest ago first. */
  expired(db: Database, now: Date, limit: number): Promise<DueJob[]>;
  /** By queue, the tenants with due jobs that were not admitted yet, and how many. */
  unadmitted(
    db: Database,
    now: Date,
  ): Promise<ReadonlyMap<Queue, readonly { tenant: string; waiting: number }[]>>;
  /** Admits `room` of a tenant's jobs, oldest first, and notes that those in `there` are in the queue already. */
  claim(db: Database, wish: Claim): Promise<DueJob[]>;
};

const ended = ({ time, position }: ProjectedMeta) => ({
  ...{ untoldSince: time, dueAt: null, expiresAt: null, admittedAt: time, position },
});

const later = (time: Date): Date => new Date(time.getTime() + lookAgainMs);

/** What happens to the row of a job, named by what the entry means for it. */
function foldsOf(table: Table, isFair: boolean) {
  const whose = (meta: ProjectedMeta) =>
    and(eq(table.tenant, meta.tenant), eq(table.jobId, meta.id));
  const due = (at: Date | null, meta: ProjectedMeta, tx: Transaction) =>
    tx
      .update(table)
      // Whatever happens to a job after it was queued, it has been in the queue.
      .set({ dueAt: at, position: meta.position, admittedAt: meta.time })
      .where(whose(meta));
  /** Comes back at a time, and then in turn with the jobs of others: nobody else brings it. */
  const back = (at: Date, meta: ProjectedMeta, tx: Transaction) =>
    isFair
      ? tx
          .update(table)
          .set({ dueAt: at, position: meta.position, admittedAt: null })
          .where(whose(meta))
      : due(at, meta, tx);
  const gone = (meta: ProjectedMeta, tx: Transaction) => tx.delete(table).where(whose(meta));
  /** Facts reach the event log after the entry that decides them, and their worker may die in between. */
  const over = (
    { events }: { events: readonly unknown[] },
    meta: ProjectedMeta,
    tx: Transaction,
  ) =>
    events.length === 0
      ? gone(meta, tx)
      : tx
          .update(table)
          .set({ ...ended(meta), isOver: true })
          .where(whose(meta));
  return { whose, due, back, gone, over };
}

function projectionOf(table: Table, family: string, isFair: boolean): Projection {
  const { whose, due, back, gone, over } = foldsOf(table, isFair);
  return projection({
    name: "open-jobs",
    source: { stream: "JOURNAL", family },
    // What sweeper and admitter noted; a row that nobody noted anything about is looked at once more.
    rebuild: { tables: [table], notes: ["due_at", "admitted_at", "untold_since"] },
    from: journalEvents,
    on: {
      JobQueued: ({ jobName, queue, notBefore, expiresAt }, meta, tx) =>
        tx
          .insert(table)
          .values({
            tenant: meta.tenant,
            jobId: meta.id,
            jobName,
            queue,
            dueAt: notBefore ?? meta.time,
            expiresAt,
            admittedAt: isFair ? null : meta.time,
            position: meta.position,
          })
          .onConflictDoNothing(),
      JobWaiting: (_, meta, tx) => due(later(meta.time), meta, tx),
      JobDeferred: ({ until }, meta, tx) => back(until ?? meta.time, meta, tx),
      // A worker has it; if that dies, the item comes back. Swept only when both were lost.
      JobStarted: (_, meta, tx) =>
        tx
          .update(table)
          .set({
            dueAt: later(meta.time),
            expiresAt: null,
            position: meta.position,
            admittedAt: meta.time,
          })
          .where(whose(meta)),
      JobAttemptFailed: ({ nextAt }, meta, tx) =>
        nextAt ? back(nextAt, meta, tx) : due(later(meta.time), meta, tx),
      JobParked: (_, meta, tx) => due(null, meta, tx),
      JobResumed: (_, meta, tx) => back(meta.time, meta, tx),
      JobCancelRequested: (_, meta, tx) => due(meta.time, meta, tx),
      // Kept without a due time, because a retry knows neither name nor queue.
      JobFailed: ({ events }, meta, tx) =>
        events.length === 0
          ? due(null, meta, tx)
          : tx.update(table).set(ended(meta)).where(whose(meta)),
      JobRetried: (_, meta, tx) => back(meta.time, meta, tx),
      JobCompleted: over,
      JobSkipped: over,
      JobCancelled: over,
      JobForgotten: (_, meta, tx) => gone(meta, tx),
    },
  });
}

/** What the admitter asks. */
function admissions(table: Table, itemOf: (row: Row) => DueJob) {
  const waiting = (now: Date) => and(isNull(table.admittedAt), lte(table.dueAt, now));
  const unadmitted: OpenJobs["unadmitted"] = async (db, now) => {
    const { queue, tenant } = table;
    const rows = await db
      .select({ queue, tenant, waiting: count() })
      .from(table)
      .where(waiting(now))
      .groupBy(queue, tenant)
      .orderBy(queue, tenant);
    return Map.groupBy(rows, (row) => row.queue as Queue);
  };
  const claim: OpenJobs["claim"] = (db, { queue, tenant, there, room, now }) =>
    db.transaction(async (tx) => {
      const ofTenant = and(eq(table.queue, queue), eq(table.tenant, tenant), waiting(now));
      if (there.length > 0) {
        const known = and(ofTenant, inArray(table.jobId, [...there]));
        await tx.update(table).set({ admittedAt: now }).where(known);
      }
      if (room === 0) return [];
      const absent = there.length > 0 ? notInArray(table.jobId, [...there]) : undefined;
      const rows = await tx
        .select()
        .from(table)
        .where(and(ofTenant, absent))
        .orderBy(table.dueAt, table.position)
        .limit(room)
        .for("update", { skipLocked: true });
      const ids = rows.map(({ jobId }) => jobId);
      if (ids.length > 0) {
        const chosen = and(eq(table.tenant, tenant), inArray(table.jobId, ids));
        await tx.update(table).set({ admittedAt: now }).where(chosen);
      }
      return rows.map(itemOf);
    });
  return { unadmitted, claim };
}

const rowsOf = (table: Table, jobs: readonly DueJob[]) =>
  sql`(${table.tenant}, ${table.jobId}, ${table.position}) IN (${sql.join(
    jobs.map(({ item, position }) => sql`(${item.tenant}, ${item.jobId}, ${position}::bigint)`),
    sql`, `,
  )})`;

/** What the sweeper asks of jobs that have ended, and tells of those it looked at. */
function endings(table: Table, itemOf: (row: Row) => DueJob) {
  const isTold = (db: Database, which: SQL | undefined) =>
    db.transaction(async (tx) => {
      await tx.delete(table).where(and(which, eq(table.isOver, true)));
      await tx.update(table).set({ untoldSince: null }).where(which);
    });
  const looked: OpenJobs["looked"] = async (db, jobs, again) => {
    if (jobs.length === 0) return;
    const same = and(rowsOf(table, jobs), lt(table.dueAt, again));
    await db.update(table).set({ dueAt: again }).where(same);
  };
  const untold: OpenJobs["untold"] = async (db, before, limit) => {
    const rows = await db
      .select()
      .from(table)
      .where(lt(table.untoldSince, before))
      .orderBy(asc(table.untoldSince))
      .limit(limit);
    return rows.map(itemOf);
  };
  const told: OpenJobs["told"] = async (db, jobs) => {
    if (jobs.length > 0) await isTold(db, rowsOf(table, jobs));
  };
  const toldBefore: OpenJobs["toldBefore"] = (db, before) =>
    isTold(db, lt(table.untoldSince, before));
  return { looked, untold, told, toldBefore };
}

/**
 * The projection of one family into its service's schema, and the questions of sweeper and admitter. `fair`: jobs that
 * are new, delayed, retried or come back later are not in the queue until they are seen there or admitted.
 */
export function openJobs(schema: string, family: string, { fair = false } = {}): OpenJobs {
  const table = tableOf(schema);
  const itemOf = ({ tenant, jobId, queue, position }: Row): DueJob => ({
    // Journals hold no other queues: dispatch checks them.
    item: { family, queue: queue as Queue, tenant, jobId },
    position,
  });
  return {
    ...admissions(table, itemOf),
    ...endings(table, itemOf),
    projection: projectionOf(table, family, fair),
    async due(db, before, limit) {
      const rows = await db
        .select()
        .from(table)
        .where(and(isNotNull(table.dueAt), lt(table.dueAt, before), lt(table.admittedAt, before)))
        .orderBy(sql`${table.dueAt} asc`)
        .limit(limit);
      return rows.map(itemOf);
    },
    async expired(db, now, limit) {
      const rows = await db
        .select()
        .from(table)
        .where(and(isNotNull(table.expiresAt), lt(table.expiresAt, now)))
        .orderBy(sql`${table.expiresAt} asc`)
        .limit(limit);
      return rows.map(itemOf);
    },
  };
}
