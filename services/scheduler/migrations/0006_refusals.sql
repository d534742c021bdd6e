ALTER TABLE "scheduler"."refused_jobs" ADD COLUMN "code" text NOT NULL DEFAULT '';
--> statement-breakpoint
ALTER TABLE "scheduler"."refused_jobs" ADD COLUMN "refused_at" timestamp (3) with time zone;
--> statement-breakpoint
CREATE INDEX "refused_jobs_late" ON "scheduler"."refused_jobs" ("refused_at") WHERE "code" = 'not-accepted-in-time';
