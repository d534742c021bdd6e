CREATE TABLE "credentials_secrets"."tenant_keys" (
  "tenant" text NOT NULL,
  "version" integer NOT NULL,
  "root_id" text NOT NULL,
  "wrapped" bytea NOT NULL,
  "created_at" timestamp(3) with time zone NOT NULL,
  PRIMARY KEY ("tenant", "version")
);
--> statement-breakpoint
CREATE INDEX "tenant_keys_by_root" ON "credentials_secrets"."tenant_keys" ("root_id", "tenant");
--> statement-breakpoint
CREATE TABLE "credentials_secrets"."erased_tenants" (
  "tenant" text PRIMARY KEY,
  "erased_at" timestamp(3) with time zone NOT NULL
);
