CREATE TABLE "scheduler"."audit_anchors" (
	"chain" text PRIMARY KEY NOT NULL,
	"sealed_with" text NOT NULL,
	"sealed" bytea NOT NULL,
	"anchored_at" timestamp (3) with time zone NOT NULL,
	"number" bigint NOT NULL
);
