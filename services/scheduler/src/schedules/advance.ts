/** Looks at one schedule and records what is due; any number of replicas may do so at once. */
import { hashId } from "@chom/shared/aggregate/id";
import { jobRefusal } from "@chom/shared/job/job-refusal";
import { readJournal } from "@chom/shared/job/journal";
import type { App } from "@chom/shared/service/app";
import { journalSubject } from "@chom/shared/topology/subjects";
import { isTerminal, stateAfter } from "../job-view.ts";
import { methodOf } from "../job-request.ts";
import { type Decided, decideNext } from "./decide-ticks.ts";
import { type LastTick, lastTick, recordTick, type TickEvent, tickEvents } from "./ledger.ts";
import { isPaused, schedule } from "./schedule.ts";

/** The job that only looks at the alerts. */
export const monitorJob = "monitor";

/** A request whose family has said nothing for so long is no reason any more to hold the next tick back. */
const unansweredMs = 1_800_000;
const ticksMax = 1_000;

export type Which = { readonly tenant: string; readonly scheduleId: string };

/** Whether the job that a tick fired is still on its way. */
async function isBusy(app: App, tenant: string, last: LastTick, jobName: string): Promise<boolean> {
  if (last.jobId === "" || jobName === monitorJob) return false;
  const subject = journalSubject(tenant, methodOf(jobName).family, last.jobId);
  const entries = await readJournal(app, subject);
  if (entries.length > 0) return !isTerminal(stateAfter(entries));
  const { refused } = (await app.load(jobRefusal, tenant, last.jobId)).state;
  return !refused && app.now().getTime() - last.at.getTime() < unansweredMs;
}

type Place = Which & { readonly version: number; readonly jobName: string };

/** The id of a tick's job, and so the tick's own: two replicas make the same. */
export const tickId = ({ scheduleId, version }: Pick<Place, "scheduleId" | "version">, at: Date) =>
  hashId("schedule", scheduleId, version, at.toISOString());

function eventOf(place: Place, decided: Decided, last: LastTick): TickEvent {
  const { scheduleId, version, jobName } = place;
  if (decided.outcome === "fired") {
    const jobId = tickId(place, decided.at);
    return tickEvents.ScheduleFired({
      ...{ scheduleId, version, jobId, jobName, askedBy: "", lastJobId: jobId },
      ...{ nominalAt: decided.at, plannedThrough: decided.at },
    });
  }
  const { first: firstAt, last: lastAt, count: ticksCount, reason } = decided;
  const told = { scheduleId, version, firstAt, lastAt, ticksCount };
  const through = { plannedThrough: lastAt, lastJobId: last.jobId };
  return decided.outcome === "skipped"
    ? tickEvents.ScheduleSkipped({ ...told, reason, ...through })
    : tickEvents.ScheduleMissed({ ...told, ...through });
}

/** Records everything that is due by now. Twice, or on two replicas, is once. */
export async function advance(app: App, { tenant, scheduleId }: Which): Promise<void> {
  for (let ticks = 0; ticks < ticksMax; ticks += 1) {
    const { state } = await app.load(schedule, tenant, scheduleId);
    const { spec, version, since } = state;
    if (!spec || state.removed) return;
    const last = await lastTick(app, tenant, scheduleId);
    const { jobName } = spec;
    const now = app.now();
    const decided = decideNext({
      ...{ spec, now, paused: isPaused(state, now) },
      // The ticks of an earlier version are none of this one's.
      plannedThrough:
        last.version === version && last.plannedThrough > since ? last.plannedThrough : since,
      busy: await isBusy(app, tenant, last, jobName),
    });
    if (!decided) return;
    const place = { tenant, scheduleId, version, jobName };
    const entry = { tenant, scheduleId, actor: `schedule:${spec.name}`, expected: last.sequence };
    // Another replica was first: it goes on.
    if (!(await recordTick(app, entry, eventOf(place, decided, last)))) return;
  }
}

/** Starts the schedule's job now, beside the plan. The same request id is one run. */
export async function runNow(
  app: App,
  { tenant, scheduleId }: Which,
  { jobId, actor }: { jobId: string; actor: string },
): Promise<void> {
  for (;;) {
    const { state } = await app.load(schedule, tenant, scheduleId);
    const last = await lastTick(app, tenant, scheduleId);
    if (last.jobId === jobId || !state.spec) return;
    const { version, since, spec } = state;
    const fired = tickEvents.ScheduleFired({
      ...{ scheduleId, version, jobId, jobName: spec.jobName, askedBy: actor, lastJobId: jobId },
      nominalAt: app.now(),
      plannedThrough:
        last.version === version && last.plannedThrough > since ? last.plannedThrough : since,
    });
    const place = { tenant, scheduleId, actor, expected: last.sequence };
    if (await recordTick(app, place, fired)) return;
  }
}
