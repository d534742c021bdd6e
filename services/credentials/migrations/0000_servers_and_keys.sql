CREATE SCHEMA IF NOT EXISTS "credentials";
--> statement-breakpoint
CREATE SCHEMA IF NOT EXISTS "credentials_secrets";
--> statement-breakpoint
CREATE TABLE "credentials"."servers" (
  "tenant" text NOT NULL,
  "server_id" text NOT NULL,
  "name" text NOT NULL,
  "address" text NOT NULL,
  "port" integer NOT NULL,
  "login_user" text NOT NULL,
  "host_keys" jsonb NOT NULL,
  "status" text NOT NULL,
  "registered_at" timestamp(3) with time zone NOT NULL,
  "rotated_at" timestamp(3) with time zone,
  PRIMARY KEY ("tenant", "server_id")
);
--> statement-breakpoint
CREATE INDEX "servers_by_time" ON "credentials"."servers" ("tenant", "registered_at", "server_id");
--> statement-breakpoint
CREATE TABLE "credentials"."server_keys" (
  "tenant" text NOT NULL,
  "server_id" text NOT NULL,
  "key_id" text NOT NULL,
  "public_key" text NOT NULL,
  "fingerprint" text NOT NULL,
  "status" text NOT NULL,
  "created_at" timestamp(3) with time zone NOT NULL,
  "retire_at" timestamp(3) with time zone,
  PRIMARY KEY ("tenant", "server_id", "key_id")
);
--> statement-breakpoint
CREATE TABLE "credentials_secrets"."keys" (
  "tenant" text NOT NULL,
  "server_id" text NOT NULL,
  "key_id" text NOT NULL,
  "public_key" text NOT NULL,
  "fingerprint" text NOT NULL,
  "sealed_with" text,
  "sealed" bytea,
  "created_at" timestamp(3) with time zone NOT NULL,
  "forgotten_at" timestamp(3) with time zone,
  PRIMARY KEY ("tenant", "server_id", "key_id")
);
