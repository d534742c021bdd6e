/** Tells alerts to their sinks: what the projection noted down, again and again until it arrived or is too old. */
import { classify } from "@chom/shared/failure/failure";
import type { App } from "@chom/shared/service/app";
import { and, asc, eq, isNotNull, isNull, lt, lte, or } from "drizzle-orm";
import { alertDeliveries, type Delivery } from "./alert-tables.ts";
import { send, type Webhook } from "./webhook.ts";

const batch = 32;
/** 5 s, 10 s, 20 s … at most 15 min: 20 attempts take about three hours. */
const firstRetryMs = 5_000;
const longestRetryMs = 900_000;
export const attemptsMax = 20;
const keptMs = 30 * 86_400_000;

/** When to try again after so many failed attempts; undefined: never. */
export const retryInMs = (attempts: number): number | undefined =>
  attempts >= attemptsMax
    ? undefined
    : Math.min(firstRetryMs * 2 ** (attempts - 1), longestRetryMs);

function tellLog(app: App, delivery: Delivery): void {
  const edge = JSON.parse(delivery.body) as { type: string; rule: string; message: string };
  const { type, message, rule, ...about } = edge;
  if (type === "AlertRaised") app.logger.error({ alert: rule, ...about }, `raised: ${message}`);
  else app.logger.info({ alert: rule, ...about }, `resolved: ${message}`);
}

async function deliver(app: App, delivery: Delivery, webhook: Webhook | undefined): Promise<void> {
  if (delivery.sink === "log") return tellLog(app, delivery);
  // A webhook that was switched off gets nothing more.
  if (webhook) await send(webhook, delivery, app.now());
}

async function settle(app: App, delivery: Delivery, webhook: Webhook | undefined): Promise<void> {
  const { eventId, sink } = delivery;
  const attempts = delivery.attempts + 1;
  const mark = (set: Partial<Delivery>) =>
    app.db
      .update(alertDeliveries)
      .set({ attempts, ...set })
      .where(and(eq(alertDeliveries.eventId, eventId), eq(alertDeliveries.sink, sink)));
  try {
    await deliver(app, delivery, webhook);
    await mark({ deliveredAt: app.now(), problem: "" });
  } catch (error) {
    const { code, message, kind } = classify(error);
    const delayMs = kind === "permanent" ? undefined : retryInMs(attempts);
    const problem = `${code}: ${message}`.slice(0, 500);
    const now = app.now();
    if (delayMs !== undefined) {
      await mark({ dueAt: new Date(now.getTime() + delayMs), problem });
      return;
    }
    await mark({ givenUpAt: now, problem });
    app.logger.error({ eventId, sink, attempts, code }, "an alert could not be told; given up");
  }
}

/** Tells what is due; answers how much it looked at. A sink that does not answer delays nobody but itself. */
export async function deliverAlerts(app: App, webhook: Webhook | undefined): Promise<number> {
  const { deliveredAt, givenUpAt, dueAt, position } = alertDeliveries;
  const due = await app.db
    .select()
    .from(alertDeliveries)
    .where(and(isNull(deliveredAt), isNull(givenUpAt), lte(dueAt, app.now())))
    .orderBy(asc(position))
    .limit(batch);
  await Promise.all(due.map((delivery) => settle(app, delivery, webhook)));
  return due.length;
}

/** Forgets what was told, or given up, long ago. */
export async function dropTold(app: App): Promise<void> {
  const { deliveredAt, givenUpAt, dueAt } = alertDeliveries;
  const before = new Date(app.now().getTime() - keptMs);
  await app.db
    .delete(alertDeliveries)
    .where(and(or(isNotNull(deliveredAt), isNotNull(givenUpAt)), lt(dueAt, before)));
}
