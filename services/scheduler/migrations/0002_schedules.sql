CREATE TABLE "scheduler"."schedules" (
  "tenant" text NOT NULL,
  "schedule_id" text NOT NULL,
  "spec" jsonb NOT NULL,
  "version" integer NOT NULL,
  "actor" text NOT NULL,
  "paused" boolean DEFAULT false NOT NULL,
  "pause_reason" text DEFAULT '' NOT NULL,
  "paused_until" timestamp (3) with time zone,
  "next_at" timestamp (3) with time zone,
  "last_at" timestamp (3) with time zone,
  "last_outcome" text DEFAULT '' NOT NULL,
  "last_job_id" text DEFAULT '' NOT NULL,
  "created_at" timestamp (3) with time zone NOT NULL,
  CONSTRAINT "schedules_pk" PRIMARY KEY ("tenant", "schedule_id")
);
--> statement-breakpoint
CREATE INDEX "schedules_next" ON "scheduler"."schedules" ("next_at") WHERE "next_at" IS NOT NULL;
--> statement-breakpoint
CREATE TABLE "scheduler"."schedule_ticks" (
  "tenant" text NOT NULL,
  "schedule_id" text NOT NULL,
  "position" bigint NOT NULL,
  "version" integer NOT NULL,
  "first_at" timestamp (3) with time zone NOT NULL,
  "last_at" timestamp (3) with time zone NOT NULL,
  "ticks_count" integer NOT NULL,
  "outcome" text NOT NULL,
  "reason" text NOT NULL,
  "job_id" text NOT NULL,
  "recorded_at" timestamp (3) with time zone NOT NULL,
  CONSTRAINT "schedule_ticks_pk" PRIMARY KEY ("tenant", "schedule_id", "position")
);
