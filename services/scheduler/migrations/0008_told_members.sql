CREATE TABLE "scheduler"."told_members" (
	"tenant" text NOT NULL,
	"family" text NOT NULL,
	"job_id" text NOT NULL,
	"generation" integer NOT NULL,
	"batch_id" text NOT NULL,
	"told" boolean NOT NULL,
	"look_at" timestamp (3) with time zone NOT NULL,
	CONSTRAINT "told_members_pk" PRIMARY KEY("tenant","family","job_id")
);
--> statement-breakpoint
CREATE INDEX "told_members_batch" ON "scheduler"."told_members" ("tenant","batch_id");
