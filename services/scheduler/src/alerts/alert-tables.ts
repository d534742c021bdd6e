/** Read model of alerts, and what is still to be told to whom. */
import {
  bigint,
  boolean,
  doublePrecision,
  integer,
  pgSchema,
  primaryKey,
  text,
  timestamp,
} from "drizzle-orm/pg-core";

const schema = pgSchema("scheduler");
const moment = (name: string) => timestamp(name, { withTimezone: true, precision: 3 });

export const alerts = schema.table(
  "alerts",
  {
    tenant: text("tenant").notNull(),
    alertId: text("alert_id").notNull(),
    rule: text("rule").notNull(),
    subject: text("subject").notNull(),
    active: boolean("active").notNull(),
    value: doublePrecision("value").notNull(),
    threshold: doublePrecision("threshold").notNull(),
    message: text("message").notNull(),
    raisedAt: moment("raised_at").notNull(),
    resolvedAt: moment("resolved_at"),
    episode: integer("episode").notNull(),
  },
  (table) => [primaryKey({ name: "alerts_pk", columns: [table.tenant, table.alertId] })],
);

export type AlertRow = typeof alerts.$inferSelect;

/** One row an edge and sink. */
export const alertDeliveries = schema.table(
  "alert_deliveries",
  {
    eventId: text("event_id").notNull(),
    sink: text("sink").notNull(),
    position: bigint("position", { mode: "number" }).notNull(),
    body: text("body").notNull(),
    attempts: integer("attempts").notNull().default(0),
    dueAt: moment("due_at").notNull(),
    deliveredAt: moment("delivered_at"),
    givenUpAt: moment("given_up_at"),
    problem: text("problem").notNull().default(""),
  },
  (table) => [primaryKey({ name: "alert_deliveries_pk", columns: [table.eventId, table.sink] })],
);

export type Delivery = typeof alertDeliveries.$inferSelect;
