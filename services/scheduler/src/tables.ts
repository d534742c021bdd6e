/** The read model of jobs: one row a job, whatever its family. */
import {
  bigint,
  boolean,
  integer,
  pgSchema,
  primaryKey,
  text,
  timestamp,
} from "drizzle-orm/pg-core";
import type { JobState } from "@chom/proto/chom/jobs/v1/jobs";

const moment = (name: string) => timestamp(name, { withTimezone: true, precision: 3 });

export const jobs = pgSchema("scheduler").table(
  "jobs",
  {
    tenant: text("tenant").notNull(),
    jobId: text("job_id").notNull(),
    family: text("family").notNull(),
    name: text("name").notNull(),
    queue: text("queue").notNull(),
    state: text("state").$type<JobState>().notNull(),
    siteId: text("site_id").notNull(),
    serverId: text("server_id").notNull(),
    aggregateId: text("aggregate_id").notNull(),
    attempts: integer("attempts").notNull().default(0),
    tries: integer("tries").notNull(),
    actor: text("actor").notNull(),
    failureCode: text("failure_code").notNull().default(""),
    failureKind: text("failure_kind").notNull().default(""),
    failureMessage: text("failure_message").notNull().default(""),
    failureStep: text("failure_step").notNull().default(""),
    reason: text("reason").notNull().default(""),
    percent: integer("percent").notNull().default(0),
    progress: text("progress").notNull().default(""),
    tags: text("tags").array().notNull().default([]),
    forgotten: boolean("forgotten").notNull().default(false),
    queuedAt: moment("queued_at").notNull(),
    startedAt: moment("started_at"),
    endedAt: moment("ended_at"),
    dueAt: moment("due_at"),
    chainId: text("chain_id").notNull().default(""),
    batchId: text("batch_id").notNull().default(""),
    scheduleId: text("schedule_id").notNull().default(""),
    generation: integer("generation").notNull().default(1),
    /** Sequence of the last entry of a journal that has ended; null while it has not. */
    endedSequence: bigint("ended_sequence", { mode: "number" }),
  },
  (table) => [primaryKey({ name: "jobs_pk", columns: [table.tenant, table.jobId, table.family] })],
);

export type JobRow = typeof jobs.$inferSelect;
