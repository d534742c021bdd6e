CREATE SCHEMA IF NOT EXISTS "backup";
--> statement-breakpoint
CREATE TABLE "backup"."points" (
  "tenant" text NOT NULL,
  "backup_id" text NOT NULL,
  "site_id" text NOT NULL,
  "kind" text NOT NULL,
  "status" text NOT NULL,
  "size_bytes" bigint NOT NULL DEFAULT 0,
  "stored_bytes" bigint NOT NULL DEFAULT 0,
  "files_count" bigint NOT NULL DEFAULT 0,
  "tables_count" bigint NOT NULL DEFAULT 0,
  "manifest_key" text NOT NULL DEFAULT '',
  "failure_code" text NOT NULL DEFAULT '',
  "failure_message" text NOT NULL DEFAULT '',
  "created_at" timestamp (3) with time zone NOT NULL,
  "completed_at" timestamp (3) with time zone,
  "verified_at" timestamp (3) with time zone,
  "keep_until" timestamp (3) with time zone,
  "safety_point" boolean NOT NULL,
  "suspicious" boolean NOT NULL DEFAULT false,
  PRIMARY KEY ("tenant", "backup_id")
);
--> statement-breakpoint
CREATE INDEX "points_by_creation" ON "backup"."points" ("tenant", "site_id", "created_at", "backup_id");
--> statement-breakpoint
CREATE TABLE "backup"."restores" (
  "tenant" text NOT NULL,
  "restore_id" text NOT NULL,
  "backup_id" text NOT NULL,
  "site_id" text NOT NULL,
  "status" text NOT NULL,
  "safety_backup_id" text NOT NULL DEFAULT '',
  "failure_code" text NOT NULL DEFAULT '',
  "failure_message" text NOT NULL DEFAULT '',
  "started_at" timestamp (3) with time zone NOT NULL,
  "ended_at" timestamp (3) with time zone,
  PRIMARY KEY ("tenant", "restore_id")
);
