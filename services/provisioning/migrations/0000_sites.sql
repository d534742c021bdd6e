CREATE SCHEMA IF NOT EXISTS "provisioning";
--> statement-breakpoint
CREATE SCHEMA IF NOT EXISTS "provisioning_secrets";
--> statement-breakpoint
CREATE TABLE "provisioning"."sites" (
  "site_id" text PRIMARY KEY,
  "tenant" text NOT NULL,
  "domain" text NOT NULL,
  "server_id" text NOT NULL,
  "kind" text NOT NULL,
  "status" text NOT NULL,
  "restore_id" text NOT NULL DEFAULT '',
  "php_version" text NOT NULL,
  "ssl_enabled" boolean NOT NULL,
  "system_user" text NOT NULL DEFAULT '',
  "root_path" text NOT NULL DEFAULT '',
  "database_name" text NOT NULL DEFAULT '',
  "failure_code" text NOT NULL DEFAULT '',
  "failure_message" text NOT NULL DEFAULT '',
  "job_id" text NOT NULL,
  "created_at" timestamp(3) with time zone NOT NULL,
  "provisioned_at" timestamp(3) with time zone
);
--> statement-breakpoint
CREATE INDEX "sites_by_creation" ON "provisioning"."sites" ("tenant", "created_at", "site_id");
--> statement-breakpoint
CREATE INDEX "sites_by_status" ON "provisioning"."sites" ("status", "created_at");
--> statement-breakpoint
CREATE TABLE "provisioning"."domains" (
  "domain" text PRIMARY KEY,
  "owner_tenant" text NOT NULL,
  "site_id" text NOT NULL,
  "claimed_at" timestamp(3) with time zone NOT NULL
);
--> statement-breakpoint
CREATE TABLE "provisioning_secrets"."site_secrets" (
  "tenant" text NOT NULL,
  "site_id" text NOT NULL,
  "name" text NOT NULL,
  "key_id" text NOT NULL,
  "ciphertext" bytea NOT NULL,
  "created_at" timestamp(3) with time zone NOT NULL,
  PRIMARY KEY ("tenant", "site_id", "name")
);
