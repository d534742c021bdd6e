/** Numbers over jobs: how many are in which state (kept by triggers of `jobs`), and what happened in which time. */
import { bigint, pgSchema, primaryKey, text, timestamp } from "drizzle-orm/pg-core";
import type { JobState } from "@chom/proto/chom/jobs/v1/jobs";

const scheduler = pgSchema("scheduler");
const count = (name: string) => bigint(name, { mode: "number" }).notNull().default(0);

export const jobStates = scheduler.table(
  "job_states",
  {
    tenant: text("tenant").notNull(),
    family: text("family").notNull(),
    queue: text("queue").notNull(),
    state: text("state").$type<JobState>().notNull(),
    jobs: count("jobs"),
  },
  (table) => [
    primaryKey({
      name: "job_states_pk",
      columns: [table.tenant, table.family, table.queue, table.state],
    }),
  ],
);

export const jobBuckets = scheduler.table(
  "job_buckets",
  {
    tenant: text("tenant").notNull(),
    unit: text("unit").$type<"minute" | "hour">().notNull(),
    startsAt: timestamp("starts_at", { withTimezone: true, precision: 3 }).notNull(),
    family: text("family").notNull(),
    queued: count("queued"),
    completed: count("completed"),
    skipped: count("skipped"),
    failed: count("failed"),
    cancelled: count("cancelled"),
    retried: count("retried"),
    /** Of the completed jobs together. */
    durationMs: count("duration_ms"),
  },
  (table) => [
    primaryKey({
      name: "job_buckets_pk",
      columns: [table.tenant, table.unit, table.startsAt, table.family],
    }),
  ],
);
