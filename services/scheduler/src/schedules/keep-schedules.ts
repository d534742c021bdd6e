/** Schedules as a part of the scheduler: read models, the reactor that starts jobs, and the look at what is due. */
import { durationMs, flag, type Values } from "@chom/shared/service/settings";
import type { App, Cast, Tick } from "@chom/shared/service/app";
import { asc, lte } from "drizzle-orm";
import { advance } from "./advance.ts";
import { offerDefaults } from "./defaults.ts";
import { scheduleList, tickList } from "./projections.ts";
import { fireSchedules } from "./reactors.ts";
import { schedulesRpc } from "./schedules-rpc.ts";
import { schedules } from "./tables.ts";

export const scheduleReaders = {
  defaultSchedules: flag("CHOM_DEFAULT_SCHEDULES", { fallback: true }),
  /** How often to look for what is due: no tick fires later than this after its time. */
  scheduleEveryMs: durationMs("CHOM_SCHEDULE_EVERY", { min: 50, max: 60_000, fallback: 500 }),
} as const;

const dueMax = 500;

async function look(app: App, signal: AbortSignal): Promise<void> {
  const due = await app.db
    .select({ tenant: schedules.tenant, scheduleId: schedules.scheduleId })
    .from(schedules)
    .where(lte(schedules.nextAt, app.now()))
    .orderBy(asc(schedules.nextAt))
    .limit(dueMax);
  for (const which of due) {
    if (signal.aborted) return;
    // One that cannot be read must not hold up the others.
    await advance(app, which).catch((err: unknown) =>
      app.logger.error({ err, alert: true, ...which }, "a schedule could not be looked at"),
    );
  }
}

/** `monitor` is what the job of that name does. */
export function keepSchedules(
  app: App,
  settings: Values<typeof scheduleReaders>,
  monitor: () => Promise<void>,
): Required<Pick<Cast, "projections" | "reactors" | "rpc" | "ticks">> {
  const looking: Tick = {
    name: "schedules",
    everyMs: settings.scheduleEveryMs,
    run: (signal) => look(app, signal),
  };
  const offering: Tick = {
    name: "default-schedules",
    everyMs: 3_600_000,
    run: () => offerDefaults(app),
  };
  return {
    projections: [scheduleList, tickList],
    reactors: [fireSchedules(app, monitor)],
    rpc: [schedulesRpc(app)],
    ticks: settings.defaultSchedules ? [looking, offering] : [looking],
  };
}
