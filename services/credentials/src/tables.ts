/** Read models of servers, and the one table that is no read model: the sealed private keys. */
import {
  customType,
  index,
  integer,
  jsonb,
  pgSchema,
  primaryKey,
  text,
  timestamp,
} from "drizzle-orm/pg-core";

const schema = pgSchema("credentials");
const secrets = pgSchema("credentials_secrets");
const bytes = customType<{ data: Buffer; driverData: Buffer }>({ dataType: () => "bytea" });
const time = (name: string) => timestamp(name, { withTimezone: true, precision: 3 });

export const servers = schema.table(
  "servers",
  {
    tenant: text("tenant").notNull(),
    serverId: text("server_id").notNull(),
    name: text("name").notNull(),
    address: text("address").notNull(),
    port: integer("port").notNull(),
    user: text("login_user").notNull(),
    hostKeys: jsonb("host_keys").$type<readonly string[]>().notNull(),
    status: text("status").notNull(),
    registeredAt: time("registered_at").notNull(),
    rotatedAt: time("rotated_at"),
  },
  (table) => [
    primaryKey({ columns: [table.tenant, table.serverId] }),
    index("servers_by_time").on(table.tenant, table.registeredAt, table.serverId),
  ],
);

export const serverKeys = schema.table(
  "server_keys",
  {
    tenant: text("tenant").notNull(),
    serverId: text("server_id").notNull(),
    keyId: text("key_id").notNull(),
    publicKey: text("public_key").notNull(),
    fingerprint: text("fingerprint").notNull(),
    status: text("status").notNull(),
    createdAt: time("created_at").notNull(),
    retireAt: time("retire_at"),
  },
  (table) => [primaryKey({ columns: [table.tenant, table.serverId, table.keyId] })],
);

/** One row per API token; the hash is in its history only. */
export const apiTokens = schema.table(
  "api_tokens",
  {
    tenant: text("tenant").notNull(),
    tokenId: text("token_id").notNull(),
    name: text("name").notNull(),
    role: text("role").notNull(),
    permissions: jsonb("permissions").$type<readonly string[]>().notNull(),
    createdBy: text("created_by").notNull(),
    createdAt: time("created_at").notNull(),
    expiresAt: time("expires_at").notNull(),
    revokedAt: time("revoked_at"),
    revokedBy: text("revoked_by").notNull().default(""),
  },
  (table) => [
    primaryKey({ columns: [table.tenant, table.tokenId] }),
    index("api_tokens_by_time").on(table.tenant, table.createdAt, table.tokenId),
  ],
);

/** Tenants' keys, wrapped by a root; the truth of the bucket `tenant-keys`. Never rebuilt. */
export const tenantKeys = secrets.table(
  "tenant_keys",
  {
    tenant: text("tenant").notNull(),
    version: integer("version").notNull(),
    rootId: text("root_id").notNull(),
    wrapped: bytes("wrapped").notNull(),
    createdAt: time("created_at").notNull(),
  },
  (table) => [
    primaryKey({ columns: [table.tenant, table.version] }),
    index("tenant_keys_by_root").on(table.rootId, table.tenant),
  ],
);

/** Whose keys were destroyed; such a tenant never gets another. */
export const erasedTenants = secrets.table("erased_tenants", {
  tenant: text("tenant").primaryKey(),
  erasedAt: time("erased_at").notNull(),
});

/** Never rebuilt; part of CHOM's own backup. A forgotten key keeps its public half and fingerprint only. */
export const keys = secrets.table(
  "keys",
  {
    tenant: text("tenant").notNull(),
    serverId: text("server_id").notNull(),
    keyId: text("key_id").notNull(),
    publicKey: text("public_key").notNull(),
    fingerprint: text("fingerprint").notNull(),
    sealedWith: text("sealed_with"),
    sealed: bytes("sealed"),
    createdAt: time("created_at").notNull(),
    forgottenAt: time("forgotten_at"),
  },
  (table) => [primaryKey({ columns: [table.tenant, table.serverId, table.keyId] })],
);
