/** Heads of the audit's chains, kept outside of the broker: who cuts or rewrites a chain misses its head here. */
import { bigint, customType, pgSchema, text, timestamp } from "drizzle-orm/pg-core";

const bytea = customType<{ data: Buffer }>({ dataType: () => "bytea" });

export const auditAnchors = pgSchema("scheduler").table("audit_anchors", {
  /** The tenant whose chain it is. */
  chain: text("chain").primaryKey(),
  /** Number and hash of the entry, and where the broker had it; sealed, so that nobody without the root key can move it. */
  sealedWith: text("sealed_with").notNull(),
  sealed: bytea("sealed").notNull(),
  anchoredAt: timestamp("anchored_at", { withTimezone: true, precision: 3 }).notNull(),
  /** The number once more, in clear, for people. */
  number: bigint("number", { mode: "number" }).notNull(),
});
