-- One row a site: when it was last backed up, verified and restored. Folded from the log by projections of their own.
CREATE TABLE "backup"."site_backups" (
  "tenant" text NOT NULL,
  "site_id" text NOT NULL,
  "last_completed_at" timestamp (3) with time zone,
  "last_verified_at" timestamp (3) with time zone,
  "last_restored_at" timestamp (3) with time zone,
  "last_failed_at" timestamp (3) with time zone,
  "last_failure_code" text NOT NULL DEFAULT '',
  "removed" boolean NOT NULL DEFAULT false,
  PRIMARY KEY ("tenant", "site_id")
);
--> statement-breakpoint
CREATE INDEX "site_backups_by_age" ON "backup"."site_backups" ("tenant", "last_completed_at") WHERE NOT "removed";
--> statement-breakpoint
CREATE INDEX "site_backups_verified" ON "backup"."site_backups" ("tenant", "last_verified_at");
--> statement-breakpoint
CREATE INDEX "site_backups_restored" ON "backup"."site_backups" ("tenant", "last_restored_at");
