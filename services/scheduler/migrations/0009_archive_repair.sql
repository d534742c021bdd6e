-- The service does not own the archive, so a repair can no longer grant itself the right to change it: the owner lends it.
-- Who calls `open_archive` calls `close_archive` in the same transaction; the doctor tells of a right that was left.
CREATE FUNCTION "scheduler"."open_archive"() RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
  GRANT UPDATE, DELETE ON "scheduler"."event_archive" TO "scheduler";
END $$;
--> statement-breakpoint
CREATE FUNCTION "scheduler"."close_archive"() RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
  REVOKE UPDATE, DELETE ON "scheduler"."event_archive" FROM "scheduler";
  GRANT UPDATE ("stream_epoch", "sequence") ON "scheduler"."event_archive" TO "scheduler";
END $$;
--> statement-breakpoint
REVOKE EXECUTE ON FUNCTION "scheduler"."open_archive"(), "scheduler"."close_archive"() FROM PUBLIC;
--> statement-breakpoint
GRANT EXECUTE ON FUNCTION "scheduler"."open_archive"(), "scheduler"."close_archive"() TO "scheduler";
