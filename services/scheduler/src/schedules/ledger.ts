/** The ledger of a schedule's ticks: one subject a schedule, in the order of the ticks; its last entry tells all that is needed. */
import {
  ScheduleFired,
  ScheduleMissed,
  ScheduleSkipped,
} from "@chom/proto/chom/scheduler/v1/schedules";
import { type EventOf, eventTypes } from "@chom/shared/aggregate/event-types";
import { hashId } from "@chom/shared/aggregate/id";
import { decodeEntry, encodeEvent } from "@chom/shared/event-log/codec";
import { classify } from "@chom/shared/failure/failure";
import type { App } from "@chom/shared/service/app";
import { eventSubject } from "@chom/shared/topology/subjects";

export const tickEvents = eventTypes({ ScheduleFired, ScheduleSkipped, ScheduleMissed });
export type TickEvent = EventOf<typeof tickEvents>;

/** Kind of the ledgers' subjects. */
export const ledgerKind = "schedule-ticks";

export type LastTick = {
  readonly sequence: number;
  readonly version: number;
  readonly plannedThrough: Date;
  /** The job fired last; empty when none was. */
  readonly jobId: string;
  readonly at: Date;
};

const noTick: LastTick = {
  ...{ sequence: 0, version: 0, plannedThrough: new Date(0), jobId: "", at: new Date(0) },
};

/** Where the ledger stands. */
export async function lastTick(app: App, tenant: string, scheduleId: string): Promise<LastTick> {
  const entry = await app.log.last("EVENTS", eventSubject(tenant, ledgerKind, scheduleId));
  if (!entry) return noTick;
  const stored = decodeEntry(tickEvents, entry, app.sealer);
  // Every type of the ledger carries these fields; a newer type is passed over with its place kept.
  const data = (stored?.data ?? {}) as Partial<ScheduleMissed>;
  return {
    sequence: entry.sequence,
    version: data.version ?? 0,
    plannedThrough: data.plannedThrough ?? new Date(0),
    jobId: data.lastJobId ?? "",
    at: entry.time,
  };
}

/** Who writes, because of what. */
export type TickPlace = {
  readonly tenant: string;
  readonly scheduleId: string;
  readonly actor: string;
  /** The ledger's last sequence: whoever else wrote behind it comes first. */
  readonly expected: number;
};

/** Records a tick; false when another replica recorded one meanwhile. */
export async function recordTick(app: App, place: TickPlace, event: TickEvent): Promise<boolean> {
  const { tenant, scheduleId, actor, expected } = place;
  const subject = eventSubject(tenant, ledgerKind, scheduleId);
  const told = JSON.stringify(event.codec.toJSON(event.data as never));
  const id = hashId("tick", scheduleId, event.name, told);
  const entry = encodeEvent(
    event,
    {
      ...{ subject, id, actor, time: app.now(), source: app.name, traceparent: "" },
      ...{ causationId: scheduleId, correlationId: scheduleId },
    },
    app.sealer,
  );
  try {
    await app.log.append("EVENTS", subject, expected, [entry]);
    return true;
  } catch (error) {
    if (classify(error).code === "wrong-sequence") return false;
    throw error;
  }
}
