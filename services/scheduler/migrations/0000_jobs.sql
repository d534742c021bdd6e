CREATE TABLE "scheduler"."jobs" (
  "tenant" text NOT NULL,
  "job_id" text NOT NULL,
  "family" text NOT NULL,
  "name" text NOT NULL,
  "queue" text NOT NULL,
  "state" text NOT NULL,
  "site_id" text NOT NULL,
  "server_id" text NOT NULL,
  "aggregate_id" text NOT NULL,
  "attempts" integer DEFAULT 0 NOT NULL,
  "tries" integer NOT NULL,
  "actor" text NOT NULL,
  "failure_code" text DEFAULT '' NOT NULL,
  "failure_kind" text DEFAULT '' NOT NULL,
  "failure_message" text DEFAULT '' NOT NULL,
  "failure_step" text DEFAULT '' NOT NULL,
  "reason" text DEFAULT '' NOT NULL,
  "percent" integer DEFAULT 0 NOT NULL,
  "progress" text DEFAULT '' NOT NULL,
  "tags" text[] DEFAULT '{}' NOT NULL,
  "forgotten" boolean DEFAULT false NOT NULL,
  "queued_at" timestamp (3) with time zone NOT NULL,
  "started_at" timestamp (3) with time zone,
  "ended_at" timestamp (3) with time zone,
  "due_at" timestamp (3) with time zone,
  CONSTRAINT "jobs_pk" PRIMARY KEY ("tenant", "job_id", "family")
);
--> statement-breakpoint
CREATE INDEX "jobs_newest" ON "scheduler"."jobs" ("tenant", "queued_at" DESC, "job_id" DESC);
--> statement-breakpoint
CREATE INDEX "jobs_site" ON "scheduler"."jobs" ("tenant", "site_id", "queued_at" DESC) WHERE "site_id" <> '';
--> statement-breakpoint
CREATE INDEX "jobs_server" ON "scheduler"."jobs" ("tenant", "server_id", "queued_at" DESC) WHERE "server_id" <> '';
--> statement-breakpoint
CREATE INDEX "jobs_state" ON "scheduler"."jobs" ("tenant", "state", "queued_at" DESC);
