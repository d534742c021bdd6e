/** Folds alerts into their table, and in the same transaction notes each edge down for every sink: none is told twice. */
import type { Transaction } from "@chom/shared/projection/database";
import {
  type ProjectedMeta,
  type Projection,
  projection,
} from "@chom/shared/projection/projection";
import { and, eq } from "drizzle-orm";
import { alertEvents } from "./alert.ts";
import { alertDeliveries, alerts } from "./alert-tables.ts";

export type Sink = "log" | "webhook";

type Edge = {
  readonly rule: string;
  readonly subject: string;
  readonly value: number;
  readonly threshold: number;
  readonly message: string;
  readonly episode: number;
  readonly raisedAt?: Date | undefined;
};

/** What sinks are told, as JSON. */
const bodyOf = (type: "AlertRaised" | "AlertResolved", edge: Edge, meta: ProjectedMeta): string =>
  JSON.stringify({
    ...{ id: meta.eventId, type, tenant: meta.tenant, alertId: meta.id, time: meta.time },
    ...edge,
  });

/** The projection `alerts`, which notes deliveries to these sinks. */
export function alertList(sinks: readonly Sink[]): Projection {
  async function tell(body: string, { eventId, position, time }: ProjectedMeta, tx: Transaction) {
    const rows = sinks.map((sink) => ({ eventId, sink, position, body, dueAt: time }));
    if (rows.length > 0) await tx.insert(alertDeliveries).values(rows).onConflictDoNothing();
  }
  return projection({
    name: "alerts",
    source: { stream: "EVENTS", aggregate: "alert" },
    rebuild: { tables: [alerts], beside: [alertDeliveries] },
    from: alertEvents,
    on: {
      async AlertRaised(edge, meta, tx) {
        const { rule, subject, value, threshold, message, episode } = edge;
        const { tenant, id: alertId, time: raisedAt } = meta;
        const facts = { rule, subject, value, threshold, message, episode, raisedAt };
        const now = { ...facts, active: true, resolvedAt: null };
        await tx
          .insert(alerts)
          .values({ tenant, alertId, ...now })
          .onConflictDoUpdate({ target: [alerts.tenant, alerts.alertId], set: now });
        await tell(bodyOf("AlertRaised", edge, meta), meta, tx);
      },
      async AlertResolved(edge, meta, tx) {
        const { value, message } = edge;
        await tx
          .update(alerts)
          .set({ active: false, resolvedAt: meta.time, value, message })
          .where(and(eq(alerts.tenant, meta.tenant), eq(alerts.alertId, meta.id)));
        await tell(bodyOf("AlertResolved", edge, meta), meta, tx);
      },
    },
  });
}
