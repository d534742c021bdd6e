CREATE TABLE "scheduler"."chains" (
  "tenant" text NOT NULL,
  "chain_id" text NOT NULL,
  "name" text NOT NULL,
  "status" text NOT NULL,
  "position" integer DEFAULT 0 NOT NULL,
  "links_count" integer NOT NULL,
  "job_id" text DEFAULT '' NOT NULL,
  "batch_id" text NOT NULL,
  "created_at" timestamp (3) with time zone NOT NULL,
  CONSTRAINT "chains_pk" PRIMARY KEY ("tenant", "chain_id")
);
--> statement-breakpoint
CREATE INDEX "chains_open" ON "scheduler"."chains" ("status") WHERE "status" IN ('running', 'failed');
--> statement-breakpoint
CREATE INDEX "chains_batch" ON "scheduler"."chains" ("tenant", "batch_id") WHERE "batch_id" <> '';
--> statement-breakpoint
CREATE TABLE "scheduler"."batches" (
  "tenant" text NOT NULL,
  "batch_id" text NOT NULL,
  "name" text NOT NULL,
  "status" text NOT NULL,
  "jobs_count" integer DEFAULT 0 NOT NULL,
  "completed_count" integer DEFAULT 0 NOT NULL,
  "skipped_count" integer DEFAULT 0 NOT NULL,
  "failed_count" integer DEFAULT 0 NOT NULL,
  "cancelled_count" integer DEFAULT 0 NOT NULL,
  "allow_failures" boolean NOT NULL,
  "cancelled" boolean DEFAULT false NOT NULL,
  "chain_id" text NOT NULL,
  "created_at" timestamp (3) with time zone NOT NULL,
  "told_at" timestamp (3) with time zone NOT NULL,
  CONSTRAINT "batches_pk" PRIMARY KEY ("tenant", "batch_id")
);
--> statement-breakpoint
CREATE INDEX "batches_open" ON "scheduler"."batches" ("created_at") WHERE "status" <> 'finished';
--> statement-breakpoint
CREATE TABLE "scheduler"."refused_jobs" (
  "tenant" text NOT NULL,
  "job_id" text NOT NULL,
  "batch_id" text NOT NULL,
  CONSTRAINT "refused_jobs_pk" PRIMARY KEY ("tenant", "job_id")
);
--> statement-breakpoint
CREATE INDEX "refused_jobs_batch" ON "scheduler"."refused_jobs" ("tenant", "batch_id") WHERE "batch_id" <> '';
