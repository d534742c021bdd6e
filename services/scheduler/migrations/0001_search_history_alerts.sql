-- What every job is found by, and the sequence of its last word: rows made before are folded again from the journal.
DELETE FROM "scheduler"."jobs";
--> statement-breakpoint
UPDATE "scheduler"."projection_checkpoints" SET "sequence" = 0, "event_sequence" = 0, "event_id" = '' WHERE "projection" = 'jobs';
--> statement-breakpoint
ALTER TABLE "scheduler"."jobs"
  ADD COLUMN "chain_id" text DEFAULT '' NOT NULL,
  ADD COLUMN "batch_id" text DEFAULT '' NOT NULL,
  ADD COLUMN "schedule_id" text DEFAULT '' NOT NULL,
  ADD COLUMN "generation" integer DEFAULT 1 NOT NULL,
  ADD COLUMN "ended_sequence" bigint;
--> statement-breakpoint
DROP INDEX "scheduler"."jobs_state";
--> statement-breakpoint
DROP INDEX "scheduler"."jobs_site";
--> statement-breakpoint
DROP INDEX "scheduler"."jobs_server";
--> statement-breakpoint
CREATE INDEX "jobs_state" ON "scheduler"."jobs" ("tenant", "state", "queued_at" DESC, "job_id" DESC);
--> statement-breakpoint
CREATE INDEX "jobs_family" ON "scheduler"."jobs" ("tenant", "family", "queued_at" DESC, "job_id" DESC);
--> statement-breakpoint
CREATE INDEX "jobs_name" ON "scheduler"."jobs" ("tenant", "name", "queued_at" DESC, "job_id" DESC);
--> statement-breakpoint
CREATE INDEX "jobs_site" ON "scheduler"."jobs" ("tenant", "site_id", "queued_at" DESC, "job_id" DESC) WHERE "site_id" <> '';
--> statement-breakpoint
CREATE INDEX "jobs_server" ON "scheduler"."jobs" ("tenant", "server_id", "queued_at" DESC, "job_id" DESC) WHERE "server_id" <> '';
--> statement-breakpoint
CREATE INDEX "jobs_failure" ON "scheduler"."jobs" ("tenant", "failure_code", "queued_at" DESC, "job_id" DESC) WHERE "failure_code" <> '';
--> statement-breakpoint
CREATE INDEX "jobs_chain" ON "scheduler"."jobs" ("tenant", "chain_id", "queued_at" DESC, "job_id" DESC) WHERE "chain_id" <> '';
--> statement-breakpoint
CREATE INDEX "jobs_batch" ON "scheduler"."jobs" ("tenant", "batch_id", "queued_at" DESC, "job_id" DESC) WHERE "batch_id" <> '';
--> statement-breakpoint
CREATE INDEX "jobs_schedule" ON "scheduler"."jobs" ("tenant", "schedule_id", "queued_at" DESC, "job_id" DESC) WHERE "schedule_id" <> '';
--> statement-breakpoint
CREATE INDEX "jobs_tags" ON "scheduler"."jobs" USING gin ("tags");
--> statement-breakpoint
CREATE INDEX "jobs_prefix" ON "scheduler"."jobs" ("tenant", "job_id" text_pattern_ops);
--> statement-breakpoint
CREATE INDEX "jobs_ended" ON "scheduler"."jobs" ("tenant", "ended_at") WHERE "ended_at" IS NOT NULL;
--> statement-breakpoint
CREATE INDEX "jobs_ended_at" ON "scheduler"."jobs" ("ended_at") WHERE "ended_at" IS NOT NULL;
--> statement-breakpoint
CREATE INDEX "jobs_ended_sequence" ON "scheduler"."jobs" ("ended_sequence") WHERE "ended_sequence" IS NOT NULL;
--> statement-breakpoint
CREATE INDEX "jobs_open" ON "scheduler"."jobs" ("queue", "family", "state", "tenant") WHERE "ended_at" IS NULL;
--> statement-breakpoint
CREATE INDEX "jobs_failed" ON "scheduler"."jobs" ("ended_at", "tenant", "failure_code") WHERE "state" = 'JOB_STATE_FAILED' AND NOT "forgotten";
--> statement-breakpoint
CREATE TABLE "scheduler"."history_jobs" (
  "tenant" text NOT NULL,
  "family" text NOT NULL,
  "job_id" text NOT NULL,
  "stream_epoch" bigint NOT NULL,
  "last_sequence" bigint NOT NULL,
  "entries" integer NOT NULL,
  "ended_at" timestamp (3) with time zone NOT NULL,
  "archived_at" timestamp (3) with time zone NOT NULL,
  "look_again_at" timestamp (3) with time zone,
  "purged_at" timestamp (3) with time zone,
  CONSTRAINT "history_jobs_pk" PRIMARY KEY ("tenant", "job_id", "family", "stream_epoch")
);
--> statement-breakpoint
CREATE INDEX "history_jobs_due" ON "scheduler"."history_jobs" ("ended_at") WHERE "purged_at" IS NULL;
--> statement-breakpoint
CREATE INDEX "history_jobs_purged" ON "scheduler"."history_jobs" ("ended_at") WHERE "purged_at" IS NOT NULL;
--> statement-breakpoint
CREATE TABLE "scheduler"."history" (
  "tenant" text NOT NULL,
  "family" text NOT NULL,
  "job_id" text NOT NULL,
  "stream_epoch" bigint NOT NULL,
  "sequence" bigint NOT NULL,
  "event_id" text NOT NULL,
  "type" text NOT NULL,
  "body" text NOT NULL,
  "time" timestamp (3) with time zone NOT NULL,
  "source" text NOT NULL,
  "actor" text NOT NULL,
  "causation_id" text NOT NULL,
  "correlation_id" text NOT NULL,
  "traceparent" text NOT NULL,
  CONSTRAINT "history_pk" PRIMARY KEY ("tenant", "job_id", "family", "stream_epoch", "sequence")
);
--> statement-breakpoint
CREATE TABLE "scheduler"."history_cursor" (
  "name" text PRIMARY KEY,
  "stream_epoch" bigint NOT NULL,
  "ended_sequence" bigint NOT NULL
);
--> statement-breakpoint
CREATE TABLE "scheduler"."alerts" (
  "tenant" text NOT NULL,
  "alert_id" text NOT NULL,
  "rule" text NOT NULL,
  "subject" text NOT NULL,
  "active" boolean NOT NULL,
  "value" double precision NOT NULL,
  "threshold" double precision NOT NULL,
  "message" text NOT NULL,
  "raised_at" timestamp (3) with time zone NOT NULL,
  "resolved_at" timestamp (3) with time zone,
  "episode" integer NOT NULL,
  CONSTRAINT "alerts_pk" PRIMARY KEY ("tenant", "alert_id")
);
--> statement-breakpoint
CREATE INDEX "alerts_raised" ON "scheduler"."alerts" ("tenant", "raised_at" DESC, "alert_id" DESC);
--> statement-breakpoint
CREATE INDEX "alerts_active" ON "scheduler"."alerts" ("rule", "tenant", "subject") WHERE "active";
--> statement-breakpoint
CREATE TABLE "scheduler"."alert_deliveries" (
  "event_id" text NOT NULL,
  "sink" text NOT NULL,
  "position" bigint NOT NULL,
  "body" text NOT NULL,
  "attempts" integer DEFAULT 0 NOT NULL,
  "due_at" timestamp (3) with time zone NOT NULL,
  "delivered_at" timestamp (3) with time zone,
  "given_up_at" timestamp (3) with time zone,
  "problem" text DEFAULT '' NOT NULL,
  CONSTRAINT "alert_deliveries_pk" PRIMARY KEY ("event_id", "sink")
);
--> statement-breakpoint
CREATE INDEX "alert_deliveries_due" ON "scheduler"."alert_deliveries" ("due_at", "position") WHERE "delivered_at" IS NULL AND "given_up_at" IS NULL;
