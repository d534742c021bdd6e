/** The tables of `shared-tables.sql.ts` as drizzle sees them. */
import { bigint, pgSchema, primaryKey, text, timestamp } from "drizzle-orm/pg-core";

const count = (name: string) => bigint(name, { mode: "number" }).notNull();

/** Checkpoints and stops of one service's projections; `schema` is the service's name. */
export function checkpointTables(schema: string) {
  const owner = pgSchema(schema);
  return {
    /** How far each projection is: in the stream's incarnation `stream_epoch`, scanned up to `sequence`. */
    checkpoints: owner.table("projection_checkpoints", {
      projection: text("projection").primaryKey(),
      streamEpoch: count("stream_epoch"),
      sequence: count("sequence"),
      /** The last event that was applied, to be recognised again; 0 and empty when there was none. */
      eventSequence: count("event_sequence"),
      eventId: text("event_id").notNull(),
      updatedAt: timestamp("updated_at", { withTimezone: true }).notNull().defaultNow(),
    }),
    /** Histories that a projection no longer follows, because one of their events failed. */
    stops: owner.table(
      "projection_stops",
      {
        projection: text("projection").notNull(),
        subject: text("subject").notNull(),
        sequence: count("sequence"),
        eventId: text("event_id").notNull(),
        eventType: text("event_type").notNull(),
        code: text("code").notNull(),
        message: text("message").notNull(),
        /** Later events of the same history that were not applied. */
        skipped: count("skipped").default(0),
        stoppedAt: timestamp("stopped_at", { withTimezone: true }).notNull().defaultNow(),
      },
      (table) => [primaryKey({ columns: [table.projection, table.subject] })],
    ),
  };
}

export type CheckpointTables = ReturnType<typeof checkpointTables>;
