/** The second copy of the event log. Unlike read models it cannot be made again: it belongs into the database's backups. */
import {
  bigint,
  bigserial,
  customType,
  pgSchema,
  primaryKey,
  text,
  timestamp,
} from "drizzle-orm/pg-core";

const schema = pgSchema("scheduler");
const moment = (name: string) => timestamp(name, { withTimezone: true, precision: 3 });
const count = (name: string) => bigint(name, { mode: "number" });
const bytea = customType<{ data: Buffer }>({ dataType: () => "bytea" });

const content = () => ({
  tenant: text("tenant").notNull(),
  subject: text("subject").notNull(),
  /** Place in its history, from 1. */
  version: count("version").notNull(),
  eventId: text("event_id").notNull(),
  type: text("type").notNull(),
  /** The message's headers as JSON. */
  headers: text("headers").notNull(),
  body: bytea("body").notNull(),
});
/** Where the log has it; null while it does not. */
const place = () => ({ streamEpoch: count("stream_epoch"), sequence: count("sequence") });

/** One row an event, chained by history. Only `place` may be updated. */
export const eventArchive = schema.table(
  "event_archive",
  {
    /** Order in which the log told them first. */
    ordinal: bigserial("ordinal", { mode: "number" }),
    ...content(),
    previousHash: bytea("previous_hash").notNull(),
    hash: bytea("hash").notNull(),
    archivedAt: moment("archived_at").notNull().defaultNow(),
    ...place(),
  },
  (table) => [primaryKey({ name: "event_archive_pk", columns: [table.subject, table.version] })],
);
export type ArchiveRow = typeof eventArchive.$inferSelect;

/** What log and archive tell differently. */
export const eventConflicts = schema.table(
  "event_conflicts",
  {
    ...content(),
    ...place(),
    /** Who told it: `log` or `archive`. */
    side: text("side").notNull(),
    foundAt: moment("found_at").notNull().defaultNow(),
    /** Empty while nobody has decided. */
    decided: text("decided").notNull().default(""),
  },
  (table) => [
    primaryKey({ name: "event_conflicts_pk", columns: [table.subject, table.eventId, table.side] }),
  ],
);

/** How far the log has been followed; one row. */
export const archiveCursor = schema.table("event_archive_cursor", {
  name: text("name").primaryKey(),
  streamEpoch: count("stream_epoch").notNull(),
  sequence: count("sequence").notNull(),
  eventId: text("event_id").notNull(),
});

/** Each time that the log was found to have lost its end. */
export const logLosses = schema.table("event_log_losses", {
  id: bigserial("id", { mode: "number" }).primaryKey(),
  foundAt: moment("found_at").notNull().defaultNow(),
  streamEpoch: count("stream_epoch").notNull(),
  wholeUntil: count("whole_until").notNull(),
  archivedUntil: count("archived_until").notNull(),
  closedAt: moment("closed_at"),
});
