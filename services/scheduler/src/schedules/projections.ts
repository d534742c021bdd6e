/** Folds schedules and their ledgers into read models; `next_at` is what the runner looks for. */
import { ScheduleSpec } from "@chom/proto/chom/scheduler/v1/schedules";
import type { Transaction } from "@chom/shared/projection/database";
import {
  type ProjectedMeta,
  type Projection,
  projection,
} from "@chom/shared/projection/projection";
import { and, eq } from "drizzle-orm";
import { ledgerKind, tickEvents } from "./ledger.ts";
import { nextAfter } from "./planned-times.ts";
import { scheduleEvents } from "./schedule.ts";
import { scheduleTicks, schedules } from "./tables.ts";

/** The input is not for a table that everyone of the tenant's readers sees. */
const shown = (spec: ScheduleSpec): unknown => ScheduleSpec.toJSON({ ...spec, inputJson: "" });

const whose = ({ tenant, id }: ProjectedMeta) =>
  and(eq(schedules.tenant, tenant), eq(schedules.scheduleId, id));
const change = (
  meta: ProjectedMeta,
  tx: Transaction,
  set: Partial<typeof schedules.$inferInsert>,
) => tx.update(schedules).set(set).where(whose(meta));

/** Nothing is planned by a spec that this build cannot read: one schedule must not stop all. */
function plannedAfter(spec: ScheduleSpec, after: Date): Date | null {
  try {
    return nextAfter(spec, after) ?? null;
  } catch {
    return null;
  }
}

export const scheduleList: Projection = projection({
  name: "schedules",
  source: { stream: "EVENTS", aggregate: "schedule" },
  rebuild: { tables: [schedules] },
  from: scheduleEvents,
  on: {
    async ScheduleCreated({ spec, version }, meta, tx) {
      if (!spec) return;
      const { tenant, id: scheduleId, actor, time: createdAt } = meta;
      const row = { tenant, scheduleId, actor, createdAt, version, spec: shown(spec) };
      const nextAt = plannedAfter(spec, meta.time);
      await tx
        .insert(schedules)
        .values({ ...row, nextAt })
        .onConflictDoNothing();
    },
    async ScheduleChanged({ spec, version }, meta, tx) {
      if (!spec) return;
      await change(meta, tx, { spec: shown(spec), version, nextAt: plannedAfter(spec, meta.time) });
    },
    SchedulePaused: ({ reason, until }, meta, tx) =>
      change(meta, tx, { paused: true, pauseReason: reason, pausedUntil: until ?? null }),
    ScheduleResumed: (_, meta, tx) =>
      change(meta, tx, { paused: false, pauseReason: "", pausedUntil: null }),
    ScheduleRemoved: (_, meta, tx) => tx.delete(schedules).where(whose(meta)),
  },
});

type Told = {
  readonly version: number;
  readonly firstAt: Date | undefined;
  readonly lastAt: Date | undefined;
  readonly ticksCount: number;
  readonly outcome: string;
  readonly reason: string;
  readonly jobId: string;
  readonly plannedThrough: Date | undefined;
  readonly lastJobId: string;
};

async function tell(told: Told, meta: ProjectedMeta, tx: Transaction): Promise<void> {
  const { tenant, id: scheduleId, position, time: recordedAt } = meta;
  const { plannedThrough, lastJobId, firstAt = recordedAt, lastAt = recordedAt, ...rest } = told;
  const row = { ...rest, tenant, scheduleId, position, recordedAt, firstAt, lastAt };
  await tx.insert(scheduleTicks).values(row).onConflictDoNothing();
  const [found] = await tx.select().from(schedules).where(whose(meta));
  if (!found) return;
  const isCurrent = found.version === told.version && plannedThrough;
  const spec = ScheduleSpec.fromJSON(found.spec);
  await change(meta, tx, {
    ...{ lastAt, lastOutcome: told.outcome, lastJobId },
    ...(isCurrent ? { nextAt: plannedAfter(spec, plannedThrough) } : {}),
  });
}

export const tickList: Projection = projection({
  name: "schedule-ticks",
  source: { stream: "EVENTS", aggregate: ledgerKind },
  rebuild: { tables: [scheduleTicks, schedules] },
  from: tickEvents,
  on: {
    ScheduleFired: ({ nominalAt: at, jobId, askedBy, ...data }, meta, tx) => {
      const reason = askedBy === "" ? "" : `asked by ${askedBy}`;
      const told = { ...data, firstAt: at, lastAt: at, ticksCount: 1, outcome: "fired" };
      return tell(pick({ ...told, reason, jobId }), meta, tx);
    },
    ScheduleSkipped: (data, meta, tx) =>
      tell(pick({ ...data, outcome: "skipped", jobId: "" }), meta, tx),
    ScheduleMissed: (data, meta, tx) =>
      tell(pick({ ...data, outcome: "missed", reason: "", jobId: "" }), meta, tx),
  },
});

const pick = ({ version, firstAt, lastAt, ticksCount, outcome, ...told }: Told): Told => {
  const { reason, jobId, plannedThrough, lastJobId } = told;
  return {
    ...{ version, firstAt, lastAt, ticksCount, outcome },
    ...{ reason, jobId, plannedThrough, lastJobId },
  };
};
