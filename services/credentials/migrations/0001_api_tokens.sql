CREATE TABLE "credentials"."api_tokens" (
  "tenant" text NOT NULL,
  "token_id" text NOT NULL,
  "name" text NOT NULL,
  "role" text NOT NULL,
  "permissions" jsonb NOT NULL,
  "created_by" text NOT NULL,
  "created_at" timestamp(3) with time zone NOT NULL,
  "expires_at" timestamp(3) with time zone NOT NULL,
  "revoked_at" timestamp(3) with time zone,
  "revoked_by" text NOT NULL DEFAULT '',
  PRIMARY KEY ("tenant", "token_id")
);
--> statement-breakpoint
CREATE INDEX "api_tokens_by_time" ON "credentials"."api_tokens" ("tenant", "created_at", "token_id");
