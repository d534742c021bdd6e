/** The archive's tables: what is known of histories, adding to them, and the few things that may change. */
import type { Database, Transaction } from "@chom/shared/projection/database";
import { and, asc, desc, eq, gt, inArray, isNotNull, isNull, lte, or, sql } from "drizzle-orm";
import { type Content, chainHash, noHash, tenantOf } from "./archived-event.ts";
import {
  type ArchiveRow,
  archiveCursor,
  eventArchive,
  eventConflicts,
  logLosses,
} from "./archive-tables.ts";

export type Place = { readonly streamEpoch: number; readonly sequence: number };
export type Cursor = Place & { readonly eventId: string };
type Side = "log" | "archive";

/** What the archive knows of one history. */
export type Known = {
  readonly rows: ArchiveRow[];
  /** Somebody has to decide about it first. */
  isDisputed: boolean;
};

const cursorName = "events";

export async function loadCursor(db: Database): Promise<Cursor | undefined> {
  const [row] = await db.select().from(archiveCursor).where(eq(archiveCursor.name, cursorName));
  return row;
}

export async function moveCursor(tx: Transaction, to: Cursor): Promise<void> {
  const { streamEpoch, sequence, eventId } = to;
  const set = { streamEpoch, sequence, eventId };
  await tx
    .insert(archiveCursor)
    .values({ name: cursorName, ...set })
    .onConflictDoUpdate({ target: archiveCursor.name, set });
}

/** The archived event nearest to a position of the log, at or before it. */
export async function nearestBefore(
  db: Database,
  { streamEpoch, sequence }: Place,
): Promise<Cursor | undefined> {
  const [row] = await db
    .select()
    .from(eventArchive)
    .where(and(eq(eventArchive.streamEpoch, streamEpoch), lte(eventArchive.sequence, sequence)))
    .orderBy(desc(eventArchive.sequence))
    .limit(1);
  return row && { streamEpoch, sequence: row.sequence ?? 0, eventId: row.eventId };
}

/** Notes that the log has nothing of what was behind a place, and that it was found so. */
export async function noteLoss(db: Database, was: Cursor, whole: Cursor): Promise<number> {
  return db.transaction(async (tx) => {
    const kept = and(
      eq(eventArchive.streamEpoch, whole.streamEpoch),
      lte(eventArchive.sequence, whole.sequence),
    );
    const lost = await tx
      .update(eventArchive)
      .set({ streamEpoch: null, sequence: null })
      .where(and(isNotNull(eventArchive.sequence), sql`not coalesce(${kept}, false)`))
      .returning({ ordinal: eventArchive.ordinal });
    await tx.insert(logLosses).values({
      streamEpoch: whole.streamEpoch,
      ...{ wholeUntil: whole.sequence, archivedUntil: was.sequence },
    });
    await moveCursor(tx, whole);
    return lost.length;
  });
}

/** What is known of some histories: their last rows, those the log lacks, and those with these ids. */
export async function knownOf(
  tx: Transaction,
  subjects: readonly string[],
  ids: readonly string[],
): Promise<Map<string, Known>> {
  const known = new Map<string, Known>(subjects.map((subject) => [subject, newKnown()]));
  if (subjects.length === 0) return known;
  const mine = inArray(eventArchive.subject, [...subjects]);
  const heads = tx
    .select({ subject: eventArchive.subject, version: sql`max(${eventArchive.version})` })
    .from(eventArchive)
    .where(mine)
    .groupBy(eventArchive.subject);
  const rows = await tx
    .select()
    .from(eventArchive)
    .where(
      and(
        mine,
        or(
          isNull(eventArchive.sequence),
          inArray(eventArchive.eventId, [...ids]),
          sql`(${eventArchive.subject}, ${eventArchive.version}) in (${heads})`,
        ),
      ),
    )
    .orderBy(asc(eventArchive.subject), asc(eventArchive.version));
  for (const row of rows) known.get(row.subject)?.rows.push(row);
  const disputed = await tx
    .selectDistinct({ subject: eventConflicts.subject })
    .from(eventConflicts)
    .where(and(inArray(eventConflicts.subject, [...subjects]), eq(eventConflicts.decided, "")));
  for (const { subject } of disputed) {
    const history = known.get(subject);
    if (history) history.isDisputed = true;
  }
  return known;
}

const newKnown = (): Known => ({ rows: [], isDisputed: false });

export type Added = Content & { readonly version: number; readonly place: Place };

/** A new row of the chain; not stored yet. */
export function rowAfter(previous: ArchiveRow | undefined, added: Added) {
  const { version, place, subject, eventId, type, headers, body } = added;
  const previousHash = previous?.hash ?? noHash;
  const hash = chainHash(previousHash, version, added);
  const content = { tenant: tenantOf(subject), subject, version, eventId, type, headers, body };
  return { ...content, previousHash, hash, ...place };
}

const rowsPerInsert = 500;

export async function insertRows(
  tx: Transaction,
  rows: readonly ReturnType<typeof rowAfter>[],
): Promise<void> {
  for (let at = 0; at < rows.length; at += rowsPerInsert) {
    await tx.insert(eventArchive).values(rows.slice(at, at + rowsPerInsert));
  }
}

export async function setPlace(tx: Transaction, row: ArchiveRow, place: Place): Promise<void> {
  await tx
    .update(eventArchive)
    .set({ streamEpoch: place.streamEpoch, sequence: place.sequence })
    .where(and(eq(eventArchive.subject, row.subject), eq(eventArchive.version, row.version)));
}

export type Conflict = Content & {
  readonly side: Side;
  readonly version: number;
  readonly place: Place | undefined;
  readonly decided?: string;
};

/** Keeps what a side tells; repeating it changes nothing but a decision. */
export async function keepConflicts(
  tx: Transaction,
  conflicts: readonly Conflict[],
): Promise<void> {
  for (const { side, version, place, decided = "", ...content } of conflicts) {
    const { subject, eventId, type, headers, body } = content;
    await tx
      .insert(eventConflicts)
      .values({
        ...{ subject, eventId, type, headers, body, side, version, decided },
        tenant: tenantOf(subject),
        ...{ streamEpoch: place?.streamEpoch ?? null, sequence: place?.sequence ?? null },
      })
      .onConflictDoUpdate({
        target: [eventConflicts.subject, eventConflicts.eventId, eventConflicts.side],
        set: { decided },
      });
  }
}

/** A history as it is archived, oldest first. */
export const archivedHistory = (db: Database, subject: string): Promise<ArchiveRow[]> =>
  db
    .select()
    .from(eventArchive)
    .where(eq(eventArchive.subject, subject))
    .orderBy(asc(eventArchive.version));

/** Rows that the log lacks, in the order in which the log told them first; disputed histories are left out. */
export const missingRows = (db: Database, after: number, limit: number): Promise<ArchiveRow[]> =>
  db
    .select()
    .from(eventArchive)
    .where(
      and(
        isNull(eventArchive.sequence),
        gt(eventArchive.ordinal, after),
        sql`not exists (select 1 from ${eventConflicts}
          where ${eventConflicts.subject} = ${eventArchive.subject}
            and ${eventConflicts.decided} = '')`,
      ),
    )
    .orderBy(asc(eventArchive.ordinal))
    .limit(limit);

/** Archived rows of a range of the log's positions. */
export const rowsBetween = (
  db: Database,
  { streamEpoch, from, to }: { streamEpoch: number; from: number; to: number },
): Promise<ArchiveRow[]> =>
  db
    .select()
    .from(eventArchive)
    .where(
      and(
        eq(eventArchive.streamEpoch, streamEpoch),
        gt(eventArchive.sequence, from),
        lte(eventArchive.sequence, to),
      ),
    );

/** Histories whose chain has a gap, a wrong link, or rows that the log lacks. */
export async function brokenSubjects(db: Database, streamEpoch: number): Promise<string[]> {
  const before = sql`lag(hash) over history`;
  const version = sql`coalesce(lag(version) over history, 0) + 1`;
  const rows = await db
    .select({ subject: sql<string>`subject` })
    .from(
      sql`(select subject, sequence, stream_epoch,
        version <> ${version} or previous_hash <> coalesce(${before}, ${noHash}) as broken
        from ${eventArchive} window history as (partition by subject order by version)) as links`,
    )
    .where(sql`broken or sequence is null or stream_epoch <> ${streamEpoch}`)
    .groupBy(sql`subject`);
  return rows.map(({ subject }) => subject);
}

/** Runs with the right to change what otherwise nobody may, which the owner lends; it ends with the transaction. */
export async function unlocked<T>(db: Database, work: (tx: Transaction) => Promise<T>): Promise<T> {
  return db.transaction(async (tx) => {
    await tx.execute(sql`select scheduler.open_archive()`);
    const result = await work(tx);
    await tx.execute(sql`select scheduler.close_archive()`);
    return result;
  });
}

/** Takes the rows of a history from a version on out of the archive; they are kept aside as decided. */
export async function setAside(
  tx: Transaction,
  subject: string,
  fromVersion: number,
): Promise<ArchiveRow[]> {
  const rows = (await archivedHistory(tx, subject)).filter(({ version }) => version >= fromVersion);
  await keepConflicts(
    tx,
    rows.map((row) => ({
      ...row,
      side: "archive" as const,
      place:
        row.sequence === null || row.streamEpoch === null
          ? undefined
          : { streamEpoch: row.streamEpoch, sequence: row.sequence },
      decided: "log",
    })),
  );
  const versions = rows.map(({ version }) => version);
  if (versions.length > 0) {
    await tx
      .delete(eventArchive)
      .where(and(eq(eventArchive.subject, subject), inArray(eventArchive.version, versions)));
  }
  return rows;
}

/** Histories that wait for a decision, and how many events of each. */
export const disputes = (db: Database): Promise<{ subject: string; events: number }[]> =>
  db
    .select({ subject: eventConflicts.subject, events: sql<number>`count(*)::int` })
    .from(eventConflicts)
    .where(eq(eventConflicts.decided, ""))
    .groupBy(eventConflicts.subject)
    .orderBy(asc(eventConflicts.subject));

/** Notes the decision of everything that waited of a history. */
export async function decide(tx: Transaction, subject: string, decided: string): Promise<void> {
  await tx
    .update(eventConflicts)
    .set({ decided })
    .where(and(eq(eventConflicts.subject, subject), eq(eventConflicts.decided, "")));
}

/** Losses that nobody has closed yet. */
export const openLosses = (db: Database) =>
  db.select().from(logLosses).where(isNull(logLosses.closedAt)).orderBy(asc(logLosses.id));

export async function closeLosses(db: Database, at: Date): Promise<void> {
  await db.update(logLosses).set({ closedAt: at }).where(isNull(logLosses.closedAt));
}

/** How many rows the log lacks. */
export async function missingCount(db: Database): Promise<number> {
  return db.$count(eventArchive, isNull(eventArchive.sequence));
}
