/** Tables of this service: read models, and the passwords that are never rebuilt. */
import {
  boolean,
  customType,
  index,
  pgSchema,
  primaryKey,
  text,
  timestamp,
} from "drizzle-orm/pg-core";

const bytes = customType<{ data: Buffer }>({ dataType: () => "bytea" });
const moment = (name: string) => timestamp(name, { withTimezone: true, precision: 3 });

const provisioning = pgSchema("provisioning");
const secrets = pgSchema("provisioning_secrets");

export const sites = provisioning.table(
  "sites",
  {
    siteId: text("site_id").primaryKey(),
    tenant: text("tenant").notNull(),
    domain: text("domain").notNull(),
    serverId: text("server_id").notNull(),
    kind: text("kind").notNull(),
    /** As SiteStatus, but for restoring, which `restoreId` tells. */
    status: text("status").notNull(),
    restoreId: text("restore_id").notNull().default(""),
    phpVersion: text("php_version").notNull(),
    sslEnabled: boolean("ssl_enabled").notNull(),
    systemUser: text("system_user").notNull().default(""),
    rootPath: text("root_path").notNull().default(""),
    databaseName: text("database_name").notNull().default(""),
    failureCode: text("failure_code").notNull().default(""),
    failureMessage: text("failure_message").notNull().default(""),
    jobId: text("job_id").notNull(),
    createdAt: moment("created_at").notNull(),
    provisionedAt: moment("provisioned_at"),
  },
  (table) => [
    index("sites_by_creation").on(table.tenant, table.createdAt, table.siteId),
    index("sites_by_status").on(table.status, table.createdAt),
  ],
);

/** Claims that stand; the sweep looks here for those whose request was cut off. */
export const domains = provisioning.table("domains", {
  domain: text("domain").primaryKey(),
  ownerTenant: text("owner_tenant").notNull(),
  siteId: text("site_id").notNull(),
  claimedAt: moment("claimed_at").notNull(),
});

/** Sealed for the tenant; truth outside the log, part of CHOM's own backup. */
export const siteSecrets = secrets.table(
  "site_secrets",
  {
    tenant: text("tenant").notNull(),
    siteId: text("site_id").notNull(),
    name: text("name").notNull(),
    keyId: text("key_id").notNull(),
    ciphertext: bytes("ciphertext").notNull(),
    createdAt: moment("created_at").notNull(),
  },
  (table) => [primaryKey({ columns: [table.tenant, table.siteId, table.name] })],
);
