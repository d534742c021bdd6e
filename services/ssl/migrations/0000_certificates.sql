CREATE SCHEMA IF NOT EXISTS "ssl";
--> statement-breakpoint
CREATE SCHEMA IF NOT EXISTS "ssl_secrets";
--> statement-breakpoint
CREATE TABLE "ssl"."certificates" (
  "tenant" text NOT NULL,
  "site_id" text NOT NULL,
  "domain" text NOT NULL,
  "server_id" text NOT NULL,
  "status" text NOT NULL,
  "serial" text NOT NULL DEFAULT '',
  "issuer" text NOT NULL DEFAULT '',
  "ari_id" text NOT NULL DEFAULT '',
  "not_before" timestamp (3) with time zone,
  "not_after" timestamp (3) with time zone,
  "renew_at" timestamp (3) with time zone,
  "reason" text NOT NULL DEFAULT '',
  "created_at" timestamp (3) with time zone NOT NULL,
  PRIMARY KEY ("tenant", "site_id")
);
--> statement-breakpoint
CREATE INDEX "certificates_by_creation" ON "ssl"."certificates" ("tenant", "created_at", "site_id");
--> statement-breakpoint
CREATE INDEX "certificates_by_renewal" ON "ssl"."certificates" ("renew_at") WHERE "serial" <> '';
--> statement-breakpoint
CREATE TABLE "ssl_secrets"."acme_accounts" (
  "directory_url" text PRIMARY KEY,
  "key_id" text NOT NULL,
  "sealed_key" text NOT NULL
);
