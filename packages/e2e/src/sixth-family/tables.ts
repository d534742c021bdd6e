/** The read model in Postgres; rebuilt from events at will. */
import { bigint, jsonb, pgSchema, primaryKey, text, timestamp } from "drizzle-orm/pg-core";

/** One row per site that was ever scanned. */
export const scans = pgSchema("scan").table(
  "scans",
  {
    tenant: text("tenant").notNull(),
    siteId: text("site_id").notNull(),
    /** running, clean, suspicious or failed. */
    status: text("status").notNull(),
    filesCount: bigint("files_count", { mode: "bigint" }).notNull(),
    suspiciousPaths: jsonb("suspicious_paths").$type<string[]>().notNull(),
    scannedAt: timestamp("scanned_at", { withTimezone: true, precision: 3 }).notNull(),
  },
  (table) => [primaryKey({ columns: [table.tenant, table.siteId] })],
);
