/** Read models of this service, rebuilt from events at will. */
import { bigint, boolean, index, pgSchema, primaryKey, text, timestamp } from "drizzle-orm/pg-core";

const time = (name: string) => timestamp(name, { withTimezone: true, precision: 3, mode: "date" });
const count = (name: string) => bigint(name, { mode: "bigint" }).notNull().default(0n);
const optionalText = (name: string) => text(name).notNull().default("");
const backup = pgSchema("backup");

/** One row per recovery point. */
export const points = backup.table(
  "points",
  {
    tenant: text("tenant").notNull(),
    backupId: text("backup_id").notNull(),
    siteId: text("site_id").notNull(),
    /** Both as their enum names in the proto. */
    kind: text("kind").notNull(),
    status: text("status").notNull(),
    sizeBytes: count("size_bytes"),
    storedBytes: count("stored_bytes"),
    filesCount: count("files_count"),
    tablesCount: count("tables_count"),
    manifestKey: optionalText("manifest_key"),
    failureCode: optionalText("failure_code"),
    failureMessage: optionalText("failure_message"),
    createdAt: time("created_at").notNull(),
    completedAt: time("completed_at"),
    verifiedAt: time("verified_at"),
    keepUntil: time("keep_until"),
    safetyPoint: boolean("safety_point").notNull(),
    suspicious: boolean("suspicious").notNull().default(false),
  },
  (table) => [
    primaryKey({ columns: [table.tenant, table.backupId] }),
    index("points_by_creation").on(table.tenant, table.siteId, table.createdAt, table.backupId),
  ],
);

/** One row per restore. */
export const restores = backup.table(
  "restores",
  {
    tenant: text("tenant").notNull(),
    restoreId: text("restore_id").notNull(),
    backupId: text("backup_id").notNull(),
    siteId: text("site_id").notNull(),
    /** As its enum name in the proto. */
    status: text("status").notNull(),
    safetyBackupId: optionalText("safety_backup_id"),
    failureCode: optionalText("failure_code"),
    failureMessage: optionalText("failure_message"),
    startedAt: time("started_at").notNull(),
    endedAt: time("ended_at"),
  },
  (table) => [primaryKey({ columns: [table.tenant, table.restoreId] })],
);

/** One row per site that has a backup, or is there to have one. */
export const siteBackups = backup.table(
  "site_backups",
  {
    tenant: text("tenant").notNull(),
    siteId: text("site_id").notNull(),
    lastCompletedAt: time("last_completed_at"),
    lastVerifiedAt: time("last_verified_at"),
    lastRestoredAt: time("last_restored_at"),
    lastFailedAt: time("last_failed_at"),
    lastFailureCode: optionalText("last_failure_code"),
    removed: boolean("removed").notNull().default(false),
  },
  (table) => [primaryKey({ columns: [table.tenant, table.siteId] })],
);
