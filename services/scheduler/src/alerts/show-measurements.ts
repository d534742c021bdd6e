/** What the scheduler shows of all families: queues, failures, and what its own rules found. */
import { JobState } from "@chom/proto/chom/jobs/v1/jobs";
import type { App } from "@chom/shared/service/app";
import { gauge, sharedReading } from "@chom/shared/telemetry/metrics";
import { and, count, eq, isNull, sql } from "drizzle-orm";
import { jobs } from "../tables.ts";
import { alerts } from "./alert-tables.ts";
import { measure } from "./measure.ts";
import { type AlertThresholds, observationsOf } from "./rules.ts";

const maxAgeMs = 15_000;

type Ready = { readonly family: string; readonly queue: string; readonly seconds: number };

/** How long the oldest job of each queue that is due has not been started. */
async function oldestReady({ db, now }: App): Promise<Ready[]> {
  const since = sql`greatest(${jobs.queuedAt}, coalesce(${jobs.dueAt}, ${jobs.queuedAt}))`;
  const at = now().toISOString();
  const seconds = sql<string>`extract(epoch from ${at}::timestamptz - min(${since}))`;
  const rows = await db
    .select({ family: jobs.family, queue: jobs.queue, seconds })
    .from(jobs)
    .where(
      and(
        isNull(jobs.endedAt),
        eq(jobs.state, JobState.QUEUED),
        sql`${since} <= ${at}::timestamptz`,
      ),
    )
    .groupBy(jobs.family, jobs.queue);
  return rows.map((row) => ({ ...row, seconds: Number(row.seconds) }));
}

async function look(app: App, thresholds: AlertThresholds) {
  const measured = await measure(app, thresholds);
  const observed = observationsOf(measured, thresholds);
  const overdue = observed.filter(({ rule }) => rule === "processing-time");
  const active = await app.db
    .select({ rule: alerts.rule, value: count() })
    .from(alerts)
    .where(eq(alerts.active, true))
    .groupBy(alerts.rule);
  return { measured, overdue, active, ready: await oldestReady(app) };
}

/** Declares the gauges. */
export function showMeasurements(app: App, thresholds: AlertThresholds): void {
  const found = sharedReading(maxAgeMs, () => look(app, thresholds));
  const one = (value: number) => [{ value, labels: {} }];
  gauge("chom_queue_depth", async () =>
    (await found()).measured.depths.map(({ family, queue, count: value }) => ({
      value,
      labels: { family, queue },
    })),
  );
  gauge("chom_queue_oldest_ready_seconds", async () =>
    (await found()).ready.map(({ family, queue, seconds: value }) => ({
      value,
      labels: { family, queue },
    })),
  );
  gauge("chom_failed_jobs", async () =>
    one((await found()).measured.failed.reduce((sum, { count }) => sum + count, 0)),
  );
  gauge("chom_job_overdue_ratio", async () =>
    (await found()).overdue.map(({ subject: job, value }) => ({ value, labels: { job } })),
  );
  gauge("chom_rotation_failures", async () => one((await found()).measured.rotations.length));
  gauge("chom_quarantine_messages", async () => one((await found()).measured.quarantined));
  gauge("chom_alerts_active", async () =>
    (await found()).active.map(({ rule, value }) => ({ value, labels: { rule } })),
  );
}
