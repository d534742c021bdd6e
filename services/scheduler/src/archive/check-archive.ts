/** Compares the whole log with the archive, and puts into the archive what only the log has. */
import type { Entry } from "@chom/shared/event-log/event-log";
import type { App } from "@chom/shared/service/app";
import { eq, and } from "drizzle-orm";
import { contentOf, isSameContent } from "./archived-event.ts";
import { eventArchive } from "./archive-tables.ts";
import {
  archivedHistory,
  brokenSubjects,
  insertRows,
  keepConflicts,
  decide,
  disputes,
  loadCursor,
  rowAfter,
  rowsBetween,
  setAside,
  setPlace,
  unlocked,
} from "./archive-store.ts";
import { compareHistory, type Difference, type Told } from "./compare-history.ts";

type Checked = Pick<App, "db" | "log" | "logger">;

export type Found = Omit<Difference, "kind"> & {
  readonly kind: Difference["kind"] | "stranger";
  readonly subject: string;
  readonly repaired: boolean;
};

export type Step = { readonly found?: Found; readonly compared: number; readonly done: boolean };

const batchMax = 500;

const toldOf = (entry: Entry): Told => ({ ...contentOf(entry), sequence: entry.sequence });

/**
 * First everything by position, which finds what differs; then only the histories that differ, whole. What the follower
 * has not copied yet is no difference.
 */
export async function* checkArchive(
  app: Checked,
  { complete, signal }: { complete: boolean; signal?: AbortSignal },
): AsyncIterable<Step> {
  const { db, log } = app;
  const streamEpoch = await log.epoch("EVENTS");
  const until = (await loadCursor(db))?.sequence ?? 0;
  const suspects = new Set<string>();
  let compared = 0;
  for (let after = 0; after < until && !signal?.aborted; ) {
    const { entries } = await log.read("EVENTS", "evt.>", after, batchMax);
    const to = Math.min(entries.at(-1)?.sequence ?? until, until);
    const rows = await rowsBetween(db, { streamEpoch, from: after, to });
    const bySequence = new Map(rows.map((row) => [row.sequence, row]));
    for (const entry of entries) {
      if (entry.sequence > to) break;
      const row = bySequence.get(entry.sequence);
      bySequence.delete(entry.sequence);
      if (entry.id === "") yield { found: strangerOf(entry), compared, done: false };
      else if (!row || row.subject !== entry.subject || !isSameContent(contentOf(entry), row)) {
        suspects.add(entry.subject);
      }
      compared += 1;
    }
    for (const row of bySequence.values()) suspects.add(row.subject);
    after = to;
    yield { compared, done: false };
  }
  for (const subject of await brokenSubjects(db, streamEpoch)) suspects.add(subject);
  for (const { subject } of await disputes(db)) suspects.add(subject);
  for (const subject of suspects) {
    if (signal?.aborted) return;
    for (const found of await checkHistory(app, subject, { until, complete })) {
      yield { found, compared, done: false };
    }
  }
  yield { compared, done: true };
}

const strangerOf = ({ subject, sequence }: Entry): Found => ({
  ...{ kind: "stranger", subject, version: 0, eventId: "", repaired: false },
  detail: `a message without an event's headers at position ${sequence}`,
});

async function checkHistory(
  app: Checked,
  subject: string,
  { until, complete }: { until: number; complete: boolean },
): Promise<Found[]> {
  const { db, log } = app;
  const entries = (await log.load("EVENTS", subject)).filter(
    ({ id, sequence }) => id !== "" && sequence <= until,
  );
  const told = entries.map(toldOf);
  const differences = compareHistory(told, await archivedHistory(db, subject));
  const mendable = differences.filter(
    ({ kind }) => kind === "missing-in-archive" || kind === "row-changed",
  );
  if (complete && mendable.length > 0) await mend(app, subject, told, mendable);
  return differences.map((found) => ({
    ...found,
    subject,
    repaired: complete && mendable.includes(found),
  }));
}

/**
 * Puts into the archive what only the log has, and in place of a changed row what its own hash says was archived. The
 * changed row is kept aside.
 */
async function mend(
  { db, log, logger }: Checked,
  subject: string,
  told: readonly Told[],
  differences: readonly Difference[],
): Promise<void> {
  const streamEpoch = await log.epoch("EVENTS");
  await unlocked(db, async (tx) => {
    const lacks = new Map(differences.map((each) => [each.version, each.kind]));
    const rows = new Map((await archivedHistory(tx, subject)).map((row) => [row.version, row]));
    const last = Math.max(...lacks.keys());
    for (let version = 1; version <= last; version += 1) {
      const kind = lacks.get(version);
      const event = told[version - 1];
      if (!kind || !event) continue;
      const place = { streamEpoch, sequence: event.sequence };
      const changed = rows.get(version);
      if (changed) {
        await keepConflicts(tx, [{ ...changed, side: "archive", place, decided: "changed row" }]);
        await tx
          .delete(eventArchive)
          .where(and(eq(eventArchive.subject, subject), eq(eventArchive.version, version)));
      }
      const row = rowAfter(rows.get(version - 1), { ...event, version, place });
      await insertRows(tx, [row]);
      rows.set(version, { ...row, ordinal: 0, archivedAt: new Date(0) });
    }
  });
  const facts = { subject, versions: differences.map(({ version }) => version) };
  logger.warn({ alert: "event-archive-mended", ...facts }, "the archive was mended from the log");
}

/**
 * Decides a dispute for the log: the archive's rows from the first difference on are set aside, and the log's take
 * their place. Answers how many of each.
 */
export async function acceptLog(
  { db, log, logger }: Checked,
  subject: string,
): Promise<{ setAside: number; archived: number }> {
  const streamEpoch = await log.epoch("EVENTS");
  const entries = (await log.load("EVENTS", subject)).filter(({ id }) => id !== "");
  const told = entries.map(toldOf);
  const result = await unlocked(db, async (tx) => {
    const kept = await archivedHistory(tx, subject);
    const common = kept.findIndex((row, at) => {
      const event = told[at];
      return row.version !== at + 1 || !event || !isSameContent(event, row);
    });
    const from = common < 0 ? kept.length + 1 : common + 1;
    const aside = await setAside(tx, subject, from);
    for (const [at, row] of kept.slice(0, from - 1).entries()) {
      const event = told[at];
      if (event) await setPlace(tx, row, { streamEpoch, sequence: event.sequence });
    }
    let previous = kept[from - 2];
    const added = told.slice(from - 1).map((event, at) => {
      const place = { streamEpoch, sequence: event.sequence };
      const row = rowAfter(previous, { ...event, version: from + at, place });
      previous = { ...row, ordinal: 0, archivedAt: new Date(0) };
      return row;
    });
    await insertRows(tx, added);
    await decide(tx, subject, "log");
    return { setAside: aside.length, archived: added.length };
  });
  logger.warn({ subject, ...result }, "the log's story of a history was accepted");
  return result;
}
