/** The archive in Postgres: saving journals, finding what is due, and reading them back. */
import type { Entry } from "@chom/shared/event-log/event-log";
import type { Database } from "@chom/shared/projection/database";
import { journalSubject } from "@chom/shared/topology/subjects";
import { and, asc, desc, eq, gt, isNotNull, isNull, lt, lte, or } from "drizzle-orm";
import { jobs } from "../tables.ts";
import { history, historyCursor, historyJobs } from "./history-tables.ts";
import type { ArchivedJob, HistoryStore, JobPlace } from "./retention.ts";

const cursorName = "journal";
/** Far below Postgres' limit of 65,535 parameters a statement. */
const rowsPerInsert = 500;

const isJob = ({ tenant, family, jobId, streamEpoch }: ArchivedJob) =>
  and(
    eq(historyJobs.tenant, tenant),
    eq(historyJobs.family, family),
    eq(historyJobs.jobId, jobId),
    eq(historyJobs.streamEpoch, streamEpoch),
  );

const rowOf = ({ tenant, family, jobId, streamEpoch }: ArchivedJob, entry: Entry) => {
  const { id: eventId, sequence, type, body, time, source, actor } = entry;
  const { causationId, correlationId, traceparent } = entry;
  return {
    ...{ tenant, family, jobId, streamEpoch, sequence, eventId, type, body, time, source, actor },
    ...{ causationId, correlationId, traceparent },
  };
};

/** The store on the scheduler's schema; `now` stamps what it writes. */
export function historyStore(db: Database, now: () => Date): HistoryStore {
  return {
    async cursor() {
      const [row] = await db.select().from(historyCursor).where(eq(historyCursor.name, cursorName));
      return row ?? { streamEpoch: 0, endedSequence: 0 };
    },
    async moveCursor(to) {
      await db
        .insert(historyCursor)
        .values({ name: cursorName, ...to })
        .onConflictDoUpdate({ target: historyCursor.name, set: to });
    },
    async ended(after, limit) {
      const { tenant, family, jobId, endedSequence } = jobs;
      const rows = await db
        .select({ tenant, family, jobId, endedSequence })
        .from(jobs)
        .where(gt(endedSequence, after))
        .orderBy(asc(endedSequence))
        .limit(limit);
      return rows.map((row) => ({ ...row, endedSequence: row.endedSequence ?? 0 }));
    },
    async save(job, entries) {
      await db.transaction(async (tx) => {
        for (let at = 0; at < entries.length; at += rowsPerInsert) {
          const rows = entries.slice(at, at + rowsPerInsert).map((entry) => rowOf(job, entry));
          await tx.insert(history).values(rows).onConflictDoNothing();
        }
        const { tenant, family, jobId, streamEpoch } = historyJobs;
        const { lastSequence, entries: count, endedAt } = job;
        const facts = { lastSequence, entries: count, endedAt, archivedAt: now() };
        await tx
          .insert(historyJobs)
          .values({ ...job, archivedAt: now() })
          .onConflictDoUpdate({
            target: [tenant, jobId, family, streamEpoch],
            set: { ...facts, lookAgainAt: null, purgedAt: null },
          });
      });
    },
    async due(endedBefore, limit) {
      const { lookAgainAt, purgedAt, endedAt } = historyJobs;
      return db
        .select()
        .from(historyJobs)
        .where(
          and(
            isNull(purgedAt),
            lt(endedAt, endedBefore),
            or(isNull(lookAgainAt), lt(lookAgainAt, now())),
          ),
        )
        .orderBy(asc(endedAt))
        .limit(limit);
    },
    async markPurged(job) {
      await db.update(historyJobs).set({ purgedAt: now() }).where(isJob(job));
    },
    async lookAgain(job, at) {
      await db.update(historyJobs).set({ lookAgainAt: at }).where(isJob(job));
    },
  };
}

/** Where a job was archived last, whatever its family. */
export async function archivedPlace(
  db: Database,
  tenant: string,
  jobId: string,
): Promise<JobPlace | undefined> {
  const [row] = await db
    .select()
    .from(historyJobs)
    .where(and(eq(historyJobs.tenant, tenant), eq(historyJobs.jobId, jobId)))
    .orderBy(desc(historyJobs.endedAt))
    .limit(1);
  return row && { tenant, jobId, family: row.family };
}

/** The entries of an archived journal, oldest first; those of its last incarnation when an id was used again. */
export async function archivedEntries(db: Database, place: JobPlace): Promise<Entry[]> {
  const { tenant, family, jobId } = place;
  const rows = await db
    .select()
    .from(history)
    .where(and(eq(history.tenant, tenant), eq(history.jobId, jobId), eq(history.family, family)))
    .orderBy(asc(history.streamEpoch), asc(history.sequence));
  const subject = journalSubject(tenant, family, jobId);
  const begun = rows.findLastIndex(({ type }) => type.endsWith(".JobQueued"));
  return rows.slice(Math.max(begun, 0)).map((row) => ({ ...row, id: row.eventId, subject }));
}

const dropBatch = 1_000;

/**
 * Removes what is older than the longest retention: rows of jobs and their archived entries. Only of journals that
 * the broker no longer has. Answers how many jobs.
 */
export async function dropOld(db: Database, before: Date): Promise<number> {
  let dropped = 0;
  for (;;) {
    const old = await db
      .select()
      .from(historyJobs)
      .where(and(isNotNull(historyJobs.purgedAt), lt(historyJobs.endedAt, before)))
      .limit(dropBatch);
    if (old.length === 0) return dropped;
    await db.transaction(async (tx) => {
      for (const job of old) {
        const { tenant, family, jobId, streamEpoch, lastSequence } = job;
        const place = and(
          eq(history.tenant, tenant),
          eq(history.family, family),
          eq(history.jobId, jobId),
          eq(history.streamEpoch, streamEpoch),
          lte(history.sequence, lastSequence),
        );
        await tx.delete(history).where(place);
        await tx.delete(historyJobs).where(isJob(job));
        await tx.delete(jobs).where(
          and(
            eq(jobs.tenant, tenant),
            eq(jobs.family, family),
            eq(jobs.jobId, jobId),
            // Only the job that ended then: its id may be in use again.
            lte(jobs.endedSequence, lastSequence),
          ),
        );
      }
    });
    dropped += old.length;
  }
}
