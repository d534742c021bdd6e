/** Postgres tables of this service: a read model, and the one thing that is truth outside the log. */
import { pgSchema, primaryKey, text, timestamp } from "drizzle-orm/pg-core";

const time = (name: string) => timestamp(name, { withTimezone: true, precision: 3, mode: "date" });

/** One row per site that has, wants or lost a certificate. Rebuilt from events at will. */
export const certificates = pgSchema("ssl").table(
  "certificates",
  {
    tenant: text("tenant").notNull(),
    siteId: text("site_id").notNull(),
    domain: text("domain").notNull(),
    serverId: text("server_id").notNull(),
    /** pending, deferred, active or failed. */
    status: text("status").notNull(),
    serial: text("serial").notNull().default(""),
    issuer: text("issuer").notNull().default(""),
    ariId: text("ari_id").notNull().default(""),
    notBefore: time("not_before"),
    notAfter: time("not_after"),
    renewAt: time("renew_at"),
    /** Why it waits or failed last; empty when all is well. */
    reason: text("reason").notNull().default(""),
    createdAt: time("created_at").notNull(),
  },
  (table) => [primaryKey({ columns: [table.tenant, table.siteId] })],
);

/** Sealed account keys, one per CA. Never rebuilt: part of CHOM's own backup. */
export const acmeAccounts = pgSchema("ssl_secrets").table("acme_accounts", {
  directoryUrl: text("directory_url").primaryKey(),
  keyId: text("key_id").notNull(),
  /** Base64. */
  sealedKey: text("sealed_key").notNull(),
});
