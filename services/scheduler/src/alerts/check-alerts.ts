/** Looks at everything that has a rule, and records what crossed its threshold: the schedule target `monitor`. */
import type { App } from "@chom/shared/service/app";
import { eq } from "drizzle-orm";
import { alert, alertId } from "./alert.ts";
import { type AlertRow, alerts } from "./alert-tables.ts";
import { measure } from "./measure.ts";
import { busyRule, sizesOf, wasBusy } from "./queue-sizes.ts";
import { type AlertThresholds, defaultThresholds, type Found, observationsOf } from "./rules.ts";

/** One check uses the thresholds of its process, whoever starts it: two sets of them would raise and resolve in turns. */
const chosen = new WeakMap<App, AlertThresholds>();

/** Sets the thresholds for all checks with this App. */
export const useThresholds = (app: App, thresholds: AlertThresholds): void =>
  void chosen.set(app, thresholds);

export type Edge = "raised" | "resolved" | "";

/** Records an observation; answers the edge when it is one. Any number of processes may do so at once. */
export async function record(app: App, found: Found, actor: string): Promise<Edge> {
  const { tenant, ...observation } = found;
  const cause = { tenant, actor, eventSeed: app.newId() };
  const id = alertId(found.rule, found.subject);
  const { decided } = await app.handle(alert, id, "observe", observation, cause);
  if (decided === 0) return "";
  return found.isHigh ? "raised" : "resolved";
}

const keyOf = ({ tenant, rule, subject }: Pick<AlertRow, "tenant" | "rule" | "subject">): string =>
  JSON.stringify([tenant, rule, subject]);

/** An active alert whose subject is no longer measured: the worker has ended, nothing failed any more. */
const gone = ({ tenant, rule, subject, threshold }: AlertRow): Found => ({
  ...{ tenant, rule, subject, threshold, value: 0, isHigh: false, isLow: true },
  message: "it is no longer the case",
});

/**
 * Checks all rules once; answers the edges. Quiet systems cost some reads and no write: only what is above its
 * threshold, or was, is looked up in the log.
 */
export async function checkAlerts(app: App): Promise<{ raised: number; resolved: number }> {
  const thresholds = chosen.get(app) ?? defaultThresholds;
  const active = await app.db.select().from(alerts).where(eq(alerts.active, true));
  const isActive = new Set(active.map(keyOf));
  const observed = [...observationsOf(await measure(app, thresholds), thresholds)];
  for (const row of active.filter(({ rule }) => rule === busyRule)) {
    observed.push(wasBusy(row, await sizesOf(app, row.tenant, row.subject)));
  }
  const seen = new Set(observed.map(keyOf));
  const missing = active.filter((row) => !seen.has(keyOf(row))).map(gone);
  const counts = { raised: 0, resolved: 0 };
  for (const found of [...observed, ...missing]) {
    if (!found.isHigh && !isActive.has(keyOf(found))) continue;
    const edge = await record(app, found, "scheduler");
    if (edge !== "") counts[edge] += 1;
  }
  return counts;
}
