/** Read models of chains and batches, and of jobs that a family refused. */
import { boolean, integer, pgSchema, primaryKey, text, timestamp } from "drizzle-orm/pg-core";

const moment = (name: string) => timestamp(name, { withTimezone: true, precision: 3 });
const scheduler = pgSchema("scheduler");

export const chains = scheduler.table(
  "chains",
  {
    tenant: text("tenant").notNull(),
    chainId: text("chain_id").notNull(),
    name: text("name").notNull(),
    status: text("status").notNull(),
    position: integer("position").notNull().default(0),
    linksCount: integer("links_count").notNull(),
    jobId: text("job_id").notNull().default(""),
    batchId: text("batch_id").notNull(),
    createdAt: moment("created_at").notNull(),
  },
  (table) => [primaryKey({ name: "chains_pk", columns: [table.tenant, table.chainId] })],
);

export const batches = scheduler.table(
  "batches",
  {
    tenant: text("tenant").notNull(),
    batchId: text("batch_id").notNull(),
    name: text("name").notNull(),
    status: text("status").notNull(),
    jobsCount: integer("jobs_count").notNull().default(0),
    completedCount: integer("completed_count").notNull().default(0),
    skippedCount: integer("skipped_count").notNull().default(0),
    failedCount: integer("failed_count").notNull().default(0),
    cancelledCount: integer("cancelled_count").notNull().default(0),
    allowFailures: boolean("allow_failures").notNull(),
    cancelled: boolean("cancelled").notNull().default(false),
    chainId: text("chain_id").notNull(),
    createdAt: moment("created_at").notNull(),
    /** When something was last told of it. */
    toldAt: moment("told_at").notNull(),
  },
  (table) => [primaryKey({ name: "batches_pk", columns: [table.tenant, table.batchId] })],
);

/** Members of open batches that have ended, and whether their facts were told: each is looked up once when all goes well. */
export const toldMembers = scheduler.table(
  "told_members",
  {
    tenant: text("tenant").notNull(),
    family: text("family").notNull(),
    jobId: text("job_id").notNull(),
    /** A retry of the job is another end with facts of its own. */
    generation: integer("generation").notNull(),
    batchId: text("batch_id").notNull(),
    told: boolean("told").notNull(),
    /** Of one that is not told: not looked at again before this. */
    lookAt: moment("look_at").notNull(),
  },
  (table) => [
    primaryKey({ name: "told_members_pk", columns: [table.tenant, table.family, table.jobId] }),
  ],
);

export const refusedJobs = scheduler.table(
  "refused_jobs",
  {
    tenant: text("tenant").notNull(),
    jobId: text("job_id").notNull(),
    batchId: text("batch_id").notNull(),
    code: text("code").notNull().default(""),
    refusedAt: moment("refused_at"),
  },
  (table) => [primaryKey({ name: "refused_jobs_pk", columns: [table.tenant, table.jobId] })],
);
