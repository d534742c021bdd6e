-- How many jobs are in which state, kept by the table itself, so that whoever writes it cannot forget.
CREATE TABLE "scheduler"."job_states" (
  "tenant" text NOT NULL,
  "family" text NOT NULL,
  "queue" text NOT NULL,
  "state" text NOT NULL,
  "jobs" bigint NOT NULL,
  CONSTRAINT "job_states_pk" PRIMARY KEY ("tenant", "family", "queue", "state")
) WITH (fillfactor = 50);
--> statement-breakpoint
CREATE FUNCTION "scheduler"."count_changed_job"() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO "scheduler"."job_states" AS counted ("tenant", "family", "queue", "state", "jobs")
    SELECT tenant, family, queue, state, sum(jobs) FROM (VALUES
      (OLD.tenant, OLD.family, OLD.queue, OLD.state, CASE WHEN OLD.forgotten THEN 0 ELSE -1 END),
      (NEW.tenant, NEW.family, NEW.queue, NEW.state, CASE WHEN NEW.forgotten THEN 0 ELSE 1 END)
    ) AS change (tenant, family, queue, state, jobs)
    GROUP BY tenant, family, queue, state HAVING sum(jobs) <> 0 ORDER BY tenant, family, queue, state
    ON CONFLICT ("tenant", "family", "queue", "state") DO UPDATE SET "jobs" = counted."jobs" + excluded."jobs";
  RETURN NULL;
END $$;
--> statement-breakpoint
CREATE FUNCTION "scheduler"."count_new_jobs"() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO "scheduler"."job_states" AS counted ("tenant", "family", "queue", "state", "jobs")
    SELECT tenant, family, queue, state, count(*) FROM changed WHERE NOT forgotten
    GROUP BY tenant, family, queue, state ORDER BY tenant, family, queue, state
    ON CONFLICT ("tenant", "family", "queue", "state") DO UPDATE SET "jobs" = counted."jobs" + excluded."jobs";
  RETURN NULL;
END $$;
--> statement-breakpoint
CREATE FUNCTION "scheduler"."count_removed_jobs"() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO "scheduler"."job_states" AS counted ("tenant", "family", "queue", "state", "jobs")
    SELECT tenant, family, queue, state, -count(*) FROM changed WHERE NOT forgotten
    GROUP BY tenant, family, queue, state ORDER BY tenant, family, queue, state
    ON CONFLICT ("tenant", "family", "queue", "state") DO UPDATE SET "jobs" = counted."jobs" + excluded."jobs";
  RETURN NULL;
END $$;
--> statement-breakpoint
CREATE FUNCTION "scheduler"."count_no_jobs"() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  DELETE FROM "scheduler"."job_states";
  RETURN NULL;
END $$;
--> statement-breakpoint
-- Creating a trigger keeps writers out until this migration is done: nothing falls between it and the first count.
CREATE TRIGGER "jobs_counted_change" AFTER UPDATE OF "state", "forgotten", "queue" ON "scheduler"."jobs" FOR EACH ROW
  WHEN (OLD."state" <> NEW."state" OR OLD."forgotten" <> NEW."forgotten" OR OLD."queue" <> NEW."queue")
  EXECUTE FUNCTION "scheduler"."count_changed_job"();
--> statement-breakpoint
CREATE TRIGGER "jobs_counted_new" AFTER INSERT ON "scheduler"."jobs" REFERENCING NEW TABLE AS changed
  FOR EACH STATEMENT EXECUTE FUNCTION "scheduler"."count_new_jobs"();
--> statement-breakpoint
CREATE TRIGGER "jobs_counted_removed" AFTER DELETE ON "scheduler"."jobs" REFERENCING OLD TABLE AS changed
  FOR EACH STATEMENT EXECUTE FUNCTION "scheduler"."count_removed_jobs"();
--> statement-breakpoint
CREATE TRIGGER "jobs_counted_none" AFTER TRUNCATE ON "scheduler"."jobs"
  FOR EACH STATEMENT EXECUTE FUNCTION "scheduler"."count_no_jobs"();
--> statement-breakpoint
INSERT INTO "scheduler"."job_states" ("tenant", "family", "queue", "state", "jobs")
  SELECT "tenant", "family", "queue", "state", count(*) FROM "scheduler"."jobs" WHERE NOT "forgotten"
  GROUP BY 1, 2, 3, 4;
--> statement-breakpoint
-- What happened to jobs in each minute and each hour.
CREATE TABLE "scheduler"."job_buckets" (
  "tenant" text NOT NULL,
  "unit" text NOT NULL,
  "starts_at" timestamp (3) with time zone NOT NULL,
  "family" text NOT NULL,
  "queued" bigint DEFAULT 0 NOT NULL,
  "completed" bigint DEFAULT 0 NOT NULL,
  "skipped" bigint DEFAULT 0 NOT NULL,
  "failed" bigint DEFAULT 0 NOT NULL,
  "cancelled" bigint DEFAULT 0 NOT NULL,
  "retried" bigint DEFAULT 0 NOT NULL,
  "duration_ms" bigint DEFAULT 0 NOT NULL,
  CONSTRAINT "job_buckets_pk" PRIMARY KEY ("tenant", "unit", "starts_at", "family")
);
