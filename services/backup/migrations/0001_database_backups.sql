CREATE TABLE "backup"."database_backups" (
  "tenant" text NOT NULL,
  "backup_id" text NOT NULL,
  "source" text NOT NULL,
  "engine" text NOT NULL DEFAULT '',
  "status" text NOT NULL,
  "size_bytes" bigint NOT NULL DEFAULT 0,
  "stored_bytes" bigint NOT NULL DEFAULT 0,
  "tables_count" bigint NOT NULL DEFAULT 0,
  "rows_count" bigint NOT NULL DEFAULT 0,
  "location" text NOT NULL,
  "object_key" text NOT NULL DEFAULT '',
  "sha256" text NOT NULL DEFAULT '',
  "encrypted" boolean NOT NULL DEFAULT false,
  "failure_code" text NOT NULL DEFAULT '',
  "failure_message" text NOT NULL DEFAULT '',
  "created_at" timestamp (3) with time zone NOT NULL,
  "completed_at" timestamp (3) with time zone,
  "duration_ms" bigint NOT NULL DEFAULT 0,
  "run_id" text NOT NULL,
  PRIMARY KEY ("tenant", "backup_id")
);
--> statement-breakpoint
CREATE INDEX "database_backups_by_creation" ON "backup"."database_backups" ("tenant", "created_at", "backup_id");
