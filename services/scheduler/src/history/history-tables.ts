/** The archive of ended journals. Unlike read models it cannot be made again: it belongs into the database's backups. */
import { bigint, integer, pgSchema, primaryKey, text, timestamp } from "drizzle-orm/pg-core";

const schema = pgSchema("scheduler");
const moment = (name: string) => timestamp(name, { withTimezone: true, precision: 3 });
const count = (name: string) => bigint(name, { mode: "number" }).notNull();
const place = () => ({
  tenant: text("tenant").notNull(),
  family: text("family").notNull(),
  jobId: text("job_id").notNull(),
  streamEpoch: count("stream_epoch"),
});

/** One row an archived journal. */
export const historyJobs = schema.table(
  "history_jobs",
  {
    ...place(),
    lastSequence: count("last_sequence"),
    entries: integer("entries").notNull(),
    endedAt: moment("ended_at").notNull(),
    archivedAt: moment("archived_at").notNull(),
    lookAgainAt: moment("look_again_at"),
    purgedAt: moment("purged_at"),
  },
  (table) => [
    primaryKey({
      name: "history_jobs_pk",
      columns: [table.tenant, table.jobId, table.family, table.streamEpoch],
    }),
  ],
);

/** One row an entry, as it was stored. */
export const history = schema.table(
  "history",
  {
    ...place(),
    sequence: count("sequence"),
    eventId: text("event_id").notNull(),
    type: text("type").notNull(),
    body: text("body").notNull(),
    time: moment("time").notNull(),
    source: text("source").notNull(),
    actor: text("actor").notNull(),
    causationId: text("causation_id").notNull(),
    correlationId: text("correlation_id").notNull(),
    traceparent: text("traceparent").notNull(),
  },
  (table) => [
    primaryKey({
      name: "history_pk",
      columns: [table.tenant, table.jobId, table.family, table.streamEpoch, table.sequence],
    }),
  ],
);

/** How far ended journals have been archived; one row. */
export const historyCursor = schema.table("history_cursor", {
  name: text("name").primaryKey(),
  streamEpoch: count("stream_epoch"),
  endedSequence: count("ended_sequence"),
});
