/** Read models of schedules: one row a schedule, one row a recorded tick or range of ticks. */
import {
  bigint,
  boolean,
  integer,
  pgSchema,
  primaryKey,
  text,
  timestamp,
} from "drizzle-orm/pg-core";
import { jsonb } from "drizzle-orm/pg-core";

const moment = (name: string) => timestamp(name, { withTimezone: true, precision: 3 });
const scheduler = pgSchema("scheduler");

export const schedules = scheduler.table(
  "schedules",
  {
    tenant: text("tenant").notNull(),
    scheduleId: text("schedule_id").notNull(),
    /** The spec as canonical JSON, without the job's input. */
    spec: jsonb("spec").notNull(),
    version: integer("version").notNull(),
    actor: text("actor").notNull(),
    paused: boolean("paused").notNull().default(false),
    pauseReason: text("pause_reason").notNull().default(""),
    pausedUntil: moment("paused_until"),
    nextAt: moment("next_at"),
    lastAt: moment("last_at"),
    lastOutcome: text("last_outcome").notNull().default(""),
    lastJobId: text("last_job_id").notNull().default(""),
    createdAt: moment("created_at").notNull(),
  },
  (table) => [primaryKey({ name: "schedules_pk", columns: [table.tenant, table.scheduleId] })],
);

export const scheduleTicks = scheduler.table(
  "schedule_ticks",
  {
    tenant: text("tenant").notNull(),
    scheduleId: text("schedule_id").notNull(),
    position: bigint("position", { mode: "number" }).notNull(),
    version: integer("version").notNull(),
    firstAt: moment("first_at").notNull(),
    lastAt: moment("last_at").notNull(),
    ticksCount: integer("ticks_count").notNull(),
    outcome: text("outcome").notNull(),
    reason: text("reason").notNull(),
    jobId: text("job_id").notNull(),
    recordedAt: moment("recorded_at").notNull(),
  },
  (table) => [
    primaryKey({
      name: "schedule_ticks_pk",
      columns: [table.tenant, table.scheduleId, table.position],
    }),
  ],
);

export type ScheduleRow = typeof schedules.$inferSelect;
export type TickRow = typeof scheduleTicks.$inferSelect;
