/**
 * Copies the event log into the archive, in order, and notices at each look whether the log is still the one that was
 * copied: a broker that lost its end, or its whole store, gives old positions to new events and says nothing.
 */
import type { Entry, EventLog } from "@chom/shared/event-log/event-log";
import type { Database, Transaction } from "@chom/shared/projection/database";
import type { App, Tick } from "@chom/shared/service/app";
import { type Content, contentOf, isSameContent } from "./archived-event.ts";
import type { ArchiveRow } from "./archive-tables.ts";
import {
  type Conflict,
  type Cursor,
  insertRows,
  keepConflicts,
  type Known,
  knownOf,
  loadCursor,
  moveCursor,
  nearestBefore,
  noteLoss,
  type Place,
  rowAfter,
  setPlace,
} from "./archive-store.ts";

type Following = {
  readonly db: Database;
  readonly log: Pick<EventLog, "at" | "epoch" | "read">;
  readonly logger: App["logger"];
};

const batchMax = 500;
const all = "evt.>";

/** Follows to the end of the log; answers how many events were copied. One process at a time. */
async function followEvents({ db, log, logger }: Following, signal?: AbortSignal): Promise<number> {
  let copied = 0;
  while (!signal?.aborted) {
    const streamEpoch = await log.epoch("EVENTS");
    const known = await loadCursor(db);
    const cursor = known ?? { streamEpoch, sequence: 0, eventId: "" };
    const whole = await wholeUntil(db, log, cursor, streamEpoch);
    if (whole !== cursor) {
      const lost = await noteLoss(db, cursor, whole);
      const facts = { wholeUntil: whole.sequence, archivedUntil: cursor.sequence, lost };
      logger.error({ alert: "event-log-lost", ...facts }, "the event log has lost events");
      continue;
    }
    const { entries } = await log.read("EVENTS", all, cursor.sequence, batchMax);
    const last = entries.at(-1);
    if (!last) return copied;
    await db.transaction(async (tx) => {
      const disputed = await keep(tx, entries, streamEpoch);
      await moveCursor(tx, { streamEpoch, sequence: last.sequence, eventId: last.id });
      if (disputed.length === 0) return;
      const facts = { alert: "event-log-disputed", subjects: disputed.slice(0, 20) };
      logger.error(facts, "the event log and its archive tell different stories");
    });
    copied += entries.length;
  }
  return copied;
}

/** The cursor itself while the log still has what it points at; otherwise the last place where both agree. */
async function wholeUntil(
  db: Database,
  log: Following["log"],
  cursor: Cursor,
  streamEpoch: number,
): Promise<Cursor> {
  if (cursor.streamEpoch !== streamEpoch) return { streamEpoch, sequence: 0, eventId: "" };
  const agrees = async ({ sequence, eventId }: Cursor) =>
    sequence === 0 || (await log.at("EVENTS", sequence))?.id === eventId;
  if (await agrees(cursor)) return cursor;
  let good: Cursor = { streamEpoch, sequence: 0, eventId: "" };
  let bad = cursor.sequence;
  while (bad - good.sequence > 1) {
    const middle = Math.floor((good.sequence + bad) / 2);
    const row = await nearestBefore(db, { streamEpoch, sequence: middle });
    if (!row || row.sequence <= good.sequence) {
      // Nothing archived in between: the next one above decides.
      good = { ...good, sequence: middle };
    } else if (await agrees(row))
      good = row.sequence === middle ? row : { ...row, sequence: middle };
    else bad = row.sequence;
  }
  return (await nearestBefore(db, good)) ?? { streamEpoch, sequence: 0, eventId: "" };
}

/** Adds a batch; answers the histories that became disputed. */
async function keep(
  tx: Transaction,
  entries: readonly Entry[],
  streamEpoch: number,
): Promise<string[]> {
  // A message without an envelope is nobody's fact; the check names it.
  const facts = entries.filter(({ id }) => id !== "");
  const subjects = [...new Set(facts.map(({ subject }) => subject))];
  const ids = facts.map(({ id }) => id);
  const known = await knownOf(tx, subjects, ids);
  const added: ReturnType<typeof rowAfter>[] = [];
  const conflicts: Conflict[] = [];
  for (const entry of facts) {
    const content = contentOf(entry);
    const place = { streamEpoch, sequence: entry.sequence };
    const history = known.get(entry.subject);
    if (!history) continue;
    const move = decideMove(history, content, place);
    if (move.kind === "add") {
      const previous = history.rows.at(-1);
      const row = rowAfter(previous, { ...content, version: move.version, place });
      added.push(row);
      history.rows.push({ ...row, ordinal: 0, archivedAt: entry.time });
    } else if (move.kind === "place") {
      await setPlace(tx, move.row, place);
      history.rows.splice(history.rows.indexOf(move.row), 1, { ...move.row, ...place });
    } else if (move.kind === "dispute") {
      conflicts.push(...disputeOf(history, content, place));
      history.isDisputed = true;
    }
  }
  await insertRows(tx, added);
  await keepConflicts(tx, conflicts);
  return [...new Set(conflicts.map(({ subject }) => subject))];
}

type Move =
  | { readonly kind: "add"; readonly version: number }
  | { readonly kind: "place"; readonly row: ArchiveRow }
  | { readonly kind: "dispute" }
  | { readonly kind: "nothing" };

/** What to do with the next event of a history that the log tells. Pure. */
function decideMove(history: Known, content: Content, place: Place): Move {
  const { rows, isDisputed } = history;
  const row = rows.find(({ eventId }) => eventId === content.eventId);
  const missing = rows.find(({ sequence }) => sequence === null);
  if (row && row.sequence === place.sequence && row.streamEpoch === place.streamEpoch) {
    return { kind: "nothing" };
  }
  if (isDisputed) return { kind: "dispute" };
  if (row) {
    // Written back after a loss: in its old order, or it is another story.
    return row === missing && isSameContent(content, row)
      ? { kind: "place", row }
      : { kind: "dispute" };
  }
  return missing ? { kind: "dispute" } : { kind: "add", version: (rows.at(-1)?.version ?? 0) + 1 };
}

/** Both sides of a dispute: the event of the log, and everything that the archive has in its place. */
function disputeOf({ rows }: Known, content: Content, place: Place): Conflict[] {
  const missing = rows.filter(({ sequence }) => sequence === null);
  const version = missing[0]?.version ?? (rows.at(-1)?.version ?? 0) + 1;
  const ours = missing.map((row) => ({ ...row, side: "archive" as const, place: undefined }));
  return [{ ...content, side: "log", version, place }, ...ours];
}

/** Every second: the second copy is that much behind. */
export const archiveTick = (app: App): Tick => ({
  name: "event-archive",
  everyMs: 1_000,
  run: async (signal) => void (await followEvents(app, signal)),
});
