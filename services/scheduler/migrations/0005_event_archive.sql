-- The second copy of the event log. No read model: it is never dropped and never rebuilt.
CREATE TABLE "scheduler"."event_archive" (
  "ordinal" bigserial NOT NULL UNIQUE,
  "tenant" text NOT NULL,
  "subject" text NOT NULL,
  "version" bigint NOT NULL,
  "event_id" text NOT NULL,
  "type" text NOT NULL,
  "headers" text NOT NULL,
  "body" bytea NOT NULL,
  "previous_hash" bytea NOT NULL,
  "hash" bytea NOT NULL,
  "archived_at" timestamp (3) with time zone NOT NULL DEFAULT now(),
  "stream_epoch" bigint,
  "sequence" bigint,
  CONSTRAINT "event_archive_pk" PRIMARY KEY ("subject", "version"),
  CONSTRAINT "event_archive_id" UNIQUE ("subject", "event_id"),
  CONSTRAINT "event_archive_place" UNIQUE ("stream_epoch", "sequence")
);
--> statement-breakpoint
CREATE INDEX "event_archive_missing" ON "scheduler"."event_archive" ("ordinal") WHERE "sequence" IS NULL;
--> statement-breakpoint
-- What the log and the archive tell differently, and what was set aside by a person's decision: kept for ever.
CREATE TABLE "scheduler"."event_conflicts" (
  "subject" text NOT NULL,
  "event_id" text NOT NULL,
  "side" text NOT NULL,
  "tenant" text NOT NULL,
  "version" bigint NOT NULL,
  "type" text NOT NULL,
  "headers" text NOT NULL,
  "body" bytea NOT NULL,
  "stream_epoch" bigint,
  "sequence" bigint,
  "found_at" timestamp (3) with time zone NOT NULL DEFAULT now(),
  "decided" text NOT NULL DEFAULT '',
  CONSTRAINT "event_conflicts_pk" PRIMARY KEY ("subject", "event_id", "side")
);
--> statement-breakpoint
CREATE TABLE "scheduler"."event_archive_cursor" (
  "name" text PRIMARY KEY,
  "stream_epoch" bigint NOT NULL,
  "sequence" bigint NOT NULL,
  "event_id" text NOT NULL
);
--> statement-breakpoint
-- When the log was found to have lost its end, and how much: positions behind it were given to other events.
CREATE TABLE "scheduler"."event_log_losses" (
  "id" bigserial PRIMARY KEY,
  "found_at" timestamp (3) with time zone NOT NULL DEFAULT now(),
  "stream_epoch" bigint NOT NULL,
  "whole_until" bigint NOT NULL,
  "archived_until" bigint NOT NULL,
  "closed_at" timestamp (3) with time zone
);
--> statement-breakpoint
-- Append-only, for its owner too: only where an event is in the stream may change. A repair that must change more grants
-- itself the right inside its own transaction.
REVOKE UPDATE, DELETE, TRUNCATE ON "scheduler"."event_archive" FROM CURRENT_USER;
--> statement-breakpoint
GRANT UPDATE ("stream_epoch", "sequence") ON "scheduler"."event_archive" TO CURRENT_USER;
