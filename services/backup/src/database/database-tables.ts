/** Read model of the control plane's own backups. */
import { bigint, boolean, index, pgSchema, primaryKey, text, timestamp } from "drizzle-orm/pg-core";

const time = (name: string) => timestamp(name, { withTimezone: true, precision: 3, mode: "date" });
const count = (name: string) => bigint(name, { mode: "bigint" }).notNull().default(0n);
const optionalText = (name: string) => text(name).notNull().default("");

/** One row per backup of a database. */
export const databaseBackupRows = pgSchema("backup").table(
  "database_backups",
  {
    tenant: text("tenant").notNull(),
    backupId: text("backup_id").notNull(),
    source: text("source").notNull(),
    engine: optionalText("engine"),
    /** As its enum name in the proto. */
    status: text("status").notNull(),
    sizeBytes: count("size_bytes"),
    storedBytes: count("stored_bytes"),
    tablesCount: count("tables_count"),
    rowsCount: count("rows_count"),
    location: text("location").notNull(),
    objectKey: optionalText("object_key"),
    sha256: optionalText("sha256"),
    encrypted: boolean("encrypted").notNull().default(false),
    failureCode: optionalText("failure_code"),
    failureMessage: optionalText("failure_message"),
    createdAt: time("created_at").notNull(),
    completedAt: time("completed_at"),
    durationMs: count("duration_ms"),
    runId: text("run_id").notNull(),
  },
  (table) => [
    primaryKey({ columns: [table.tenant, table.backupId] }),
    index("database_backups_by_creation").on(table.tenant, table.createdAt, table.backupId),
  ],
);
