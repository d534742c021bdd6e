/** Schedules and their ticks as people read them. */
import {
  type GetScheduleRequest,
  type GetScheduleResponse,
  type ListSchedulesRequest,
  type ListSchedulesResponse,
  type ListTicksRequest,
  type ListTicksResponse,
  Schedule,
  ScheduleSpec,
  Tick,
} from "@chom/proto/chom/scheduler/v1/schedules";
import { notFound } from "@chom/shared/failure/failure";
import { fieldsOf } from "@chom/shared/rpc/fields";
import { decodeToken, encodeToken, pageOf } from "@chom/shared/rpc/page-token";
import type { Caller } from "@chom/shared/rpc/unary";
import type { App } from "@chom/shared/service/app";
import { and, asc, desc, eq, gt, lt, or } from "drizzle-orm";
import { nextAfter } from "./planned-times.ts";
import { scheduleList } from "./projections.ts";
import { schedule } from "./schedule.ts";
import { type ScheduleRow, schedules, scheduleTicks, type TickRow } from "./tables.ts";

const upcomingMax = 10;

const messageOf = (row: ScheduleRow, now: Date): Schedule => {
  const isOver = row.pausedUntil !== null && row.pausedUntil <= now;
  return Schedule.fromPartial({
    ...row,
    spec: ScheduleSpec.fromJSON(row.spec),
    paused: row.paused && !isOver,
    pausedUntil: row.pausedUntil ?? undefined,
    nextAt: row.nextAt ?? undefined,
    lastAt: row.lastAt ?? undefined,
  });
};

export async function getSchedule(
  app: App,
  request: GetScheduleRequest,
  { tenant }: Caller,
): Promise<GetScheduleResponse> {
  const fields = fieldsOf(request);
  const scheduleId = fields.id("scheduleId");
  const position = fields.position();
  fields.done();
  await app.seen(scheduleList.name, position);
  const whose = and(eq(schedules.tenant, tenant), eq(schedules.scheduleId, scheduleId));
  const [row] = await app.db.select().from(schedules).where(whose);
  const { state } = await app.load(schedule, tenant, scheduleId);
  if (!row || !state.spec) throw notFound("schedule", scheduleId);
  const upcoming: Date[] = [];
  for (let at = row.nextAt ?? undefined; at && upcoming.length < upcomingMax; ) {
    upcoming.push(at);
    at = nextAfter(state.spec, at);
  }
  // The input is sealed in the event and left out of the table.
  return { schedule: { ...messageOf(row, app.now()), spec: state.spec }, upcoming };
}

export async function listSchedules(
  app: App,
  request: ListSchedulesRequest,
  { tenant }: Caller,
): Promise<ListSchedulesResponse> {
  const fields = fieldsOf(request);
  const pageSize = fields.pageSize();
  const position = fields.position();
  fields.done();
  const scope = { tenant, list: "schedules" };
  const after = decodeToken(app.sealer, scope, request.pageToken);
  await app.seen(scheduleList.name, position);
  const later =
    after &&
    or(
      gt(schedules.createdAt, after.createdAt),
      and(eq(schedules.createdAt, after.createdAt), gt(schedules.scheduleId, after.id)),
    );
  const found = await app.db
    .select()
    .from(schedules)
    .where(and(eq(schedules.tenant, tenant), later))
    .orderBy(asc(schedules.createdAt), asc(schedules.scheduleId))
    .limit(pageSize + 1);
  const { rows, nextPageToken } = pageOf(found, pageSize, ({ createdAt, scheduleId }) =>
    encodeToken(app.sealer, scope, { createdAt, id: scheduleId }),
  );
  return { schedules: rows.map((row) => messageOf(row, app.now())), nextPageToken };
}

const tickOf = (row: TickRow): Tick => Tick.fromPartial({ ...row, position: BigInt(row.position) });

export async function listTicks(
  app: App,
  request: ListTicksRequest,
  { tenant }: Caller,
): Promise<ListTicksResponse> {
  const fields = fieldsOf(request);
  const scheduleId = fields.id("scheduleId");
  const pageSize = fields.pageSize();
  fields.done();
  const scope = { tenant, list: "ticks", filter: { scheduleId } };
  const after = decodeToken(app.sealer, scope, request.pageToken);
  const whose = and(eq(scheduleTicks.tenant, tenant), eq(scheduleTicks.scheduleId, scheduleId));
  const found = await app.db
    .select()
    .from(scheduleTicks)
    .where(and(whose, after && lt(scheduleTicks.position, Number(after.id))))
    .orderBy(desc(scheduleTicks.position))
    .limit(pageSize + 1);
  const { rows, nextPageToken } = pageOf(found, pageSize, ({ recordedAt, position }) =>
    encodeToken(app.sealer, scope, { createdAt: recordedAt, id: String(position) }),
  );
  return { ticks: rows.map(tickOf), nextPageToken };
}
