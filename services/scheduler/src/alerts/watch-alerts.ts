/** Alerts as a part of the scheduler: settings, the projection with its sinks, and the ticks. */
import { operator } from "@chom/shared/failure/failure";
import { networks } from "@chom/shared/input/networks";
import { httpUrlProblem } from "@chom/shared/input/url";
import type { Projection } from "@chom/shared/projection/projection";
import type { App, Tick } from "@chom/shared/service/app";
import { durationMs, int, list, secretFile, url, type Values } from "@chom/shared/service/settings";
import { alertList } from "./alert-projection.ts";
import { checkAlerts, useThresholds } from "./check-alerts.ts";
import { deliverAlerts, dropTold } from "./deliver-alerts.ts";
import { type AlertThresholds, defaultThresholds } from "./rules.ts";
import { showMeasurements } from "./show-measurements.ts";
import type { Webhook } from "./webhook.ts";

const dayMs = 86_400_000;

/** Settings of alerts: thresholds, how often to look, and where to tell. */
export const alertReaders = {
  alertEveryMs: durationMs("CHOM_ALERT_EVERY", { min: 100, max: dayMs, fallback: 60_000 }),
  alertFailedJobs: int("CHOM_ALERT_FAILED_JOBS", { min: 0, max: 1_000_000, fallback: 10 }),
  alertFailedWindowMs: durationMs("CHOM_ALERT_FAILED_WINDOW", {
    ...{ min: 1_000, max: 30 * dayMs, fallback: 3_600_000 },
  }),
  alertQueueDepth: int("CHOM_ALERT_QUEUE_DEPTH", { min: 0, max: 100_000_000, fallback: 1_000 }),
  /** Percent of what is expected. */
  alertDurationPercent: int("CHOM_ALERT_DURATION_PERCENT", {
    min: 101,
    max: 100_000,
    fallback: 200,
  }),
  alertWorkerMemoryMb: int("CHOM_ALERT_WORKER_MEMORY_MB", {
    min: 1,
    max: 1_000_000,
    fallback: 256,
  }),
  /** `backup.create=600,site.provision=120`: what a job is expected to take. */
  alertExpected: list("CHOM_ALERT_EXPECTED_SECONDS", { fallback: [] }),
  webhookUrl: url("CHOM_ALERT_WEBHOOK_URL", { fallback: undefined }),
  webhookSecret: secretFile("CHOM_ALERT_WEBHOOK_SECRET_FILE", { fallback: undefined }),
  webhookNetworks: networks("CHOM_ALLOWED_NETWORKS"),
} as const;

export type AlertSettings = Values<typeof alertReaders>;

function expectedOf(pairs: readonly string[]): Record<string, number> {
  const expected = pairs.map((pair) => {
    const [, name, seconds] = /^([a-z][a-z0-9.-]{0,64})=(\d{1,7})$/.exec(pair) ?? [];
    if (!name) throw operator("bad-settings", `CHOM_ALERT_EXPECTED_SECONDS: "${pair}" is no pair`);
    return [name, Number(seconds) * 1_000] as const;
  });
  return Object.fromEntries(expected);
}

const thresholdsOf = (settings: AlertSettings): AlertThresholds => ({
  failedJobs: settings.alertFailedJobs,
  failedWindowMs: settings.alertFailedWindowMs,
  queueDepth: settings.alertQueueDepth,
  durationFactor: settings.alertDurationPercent / 100,
  workerMemoryBytes: settings.alertWorkerMemoryMb * 1024 * 1024,
  expectedMs: { ...defaultThresholds.expectedMs, ...expectedOf(settings.alertExpected) },
});

function webhookOf(settings: AlertSettings): Webhook | undefined {
  const { webhookUrl, webhookSecret: secret, webhookNetworks } = settings;
  if (!webhookUrl) return undefined;
  const problem = httpUrlProblem(webhookUrl);
  if (problem) throw operator("bad-settings", `CHOM_ALERT_WEBHOOK_URL ${problem}`);
  if (!secret) {
    throw operator("bad-settings", "CHOM_ALERT_WEBHOOK_SECRET_FILE is not set: alerts are signed");
  }
  return { url: webhookUrl, secret, networks: webhookNetworks };
}

/** The projection and the ticks. Failure `operator` "bad-settings". */
export function watchAlerts(
  app: App,
  settings: AlertSettings,
): { projection: Projection; ticks: readonly Tick[] } {
  const thresholds = thresholdsOf(settings);
  useThresholds(app, thresholds);
  showMeasurements(app, thresholds);
  const webhook = webhookOf(settings);
  const check: Tick = {
    name: "check-alerts",
    everyMs: settings.alertEveryMs,
    async run() {
      await checkAlerts(app);
      await dropTold(app);
    },
  };
  const deliver: Tick = {
    name: "deliver-alerts",
    everyMs: 1_000,
    run: async () => void (await deliverAlerts(app, webhook)),
  };
  return {
    projection: alertList(webhook ? ["log", "webhook"] : ["log"]),
    ticks: [check, deliver],
  };
}
