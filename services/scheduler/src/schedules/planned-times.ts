/** When a schedule's ticks are planned. Pure: the same spec and time give the same answer, on every replica. */
import {
  GapPolicy,
  RepeatPolicy,
  type ScheduleSpec,
} from "@chom/proto/chom/scheduler/v1/schedules";
import { cronProblem as cronFormProblem } from "@chom/shared/input/cron";
import { Cron } from "croner";
import { leapOver, localOf, momentsOf, offsetAt } from "./zone.ts";

type When = Pick<ScheduleSpec, "cron" | "zone" | "everySeconds" | "at" | "gap" | "repeat">;

const patterns = new Map<string, Cron>();

/** The pattern over local times, which it takes for UTC: changes of the clocks are not its business. */
function patternOf(cron: string): Cron {
  const known = patterns.get(cron);
  if (known) return known;
  const problem = cronFormProblem(cron);
  if (problem) throw new RangeError(problem);
  const made = new Cron(cron, { timezone: "UTC", paused: true });
  if (patterns.size > 1_000) patterns.clear();
  patterns.set(cron, made);
  return made;
}

/** Why this is no cron pattern; undefined when it is one that comes true some day. */
export function cronProblem(cron: string): string | undefined {
  try {
    return patternOf(cron).nextRun(new Date(0)) ? undefined : "must come true some day";
  } catch (error) {
    return error instanceof Error
      ? `must be a cron pattern: ${error.message}`
      : "must be a pattern";
  }
}

/** The moments at which a local time runs, by the schedule's policies. */
function runsOf({ zone, gap, repeat }: When, localMs: number): readonly number[] {
  const moments = momentsOf(zone || "UTC", localMs);
  if (moments.length === 0) {
    return gap === GapPolicy.SKIP ? [] : [leapOver(zone || "UTC", localMs)];
  }
  if (moments.length === 1 || repeat === RepeatPolicy.BOTH) return moments;
  return repeat === RepeatPolicy.SECOND ? moments.slice(1) : moments.slice(0, 1);
}

/** Local time is never further off than this from what it was before a change of the clocks. */
const marginMs = 3 * 3_600_000;

/** The next run when no change of the clocks is near; that is nearly always so. */
function nextPlainly({ cron, zone }: When, afterMs: number): number | undefined {
  const offset = offsetAt(zone || "UTC", afterMs);
  const localMs = patternOf(cron)
    .nextRun(new Date(afterMs + offset))
    ?.getTime();
  if (localMs === undefined) return undefined;
  const moment = localMs - offset;
  const near = [afterMs - marginMs, moment - marginMs, moment, moment + marginMs];
  return near.every((at) => offsetAt(zone || "UTC", at) === offset) ? moment : undefined;
}

function nextCron(when: When, afterMs: number): number | undefined {
  const plain = nextPlainly(when, afterMs);
  if (plain !== undefined) return plain;
  const pattern = patternOf(when.cron);
  let localMs = localOf(when.zone || "UTC", afterMs) - marginMs;
  let found: number | undefined;
  let foundLocalMs = Number.POSITIVE_INFINITY;
  // A later local time may run earlier, when the clocks are put back in between.
  while (localMs < foundLocalMs + marginMs) {
    const next = pattern.nextRun(new Date(localMs))?.getTime();
    if (next === undefined) break;
    localMs = next;
    for (const moment of runsOf(when, localMs)) {
      if (moment <= afterMs || moment >= (found ?? Number.POSITIVE_INFINITY)) continue;
      found = moment;
      foundLocalMs = localMs;
    }
  }
  return found;
}

/** The first planned time after a moment; undefined when there is none any more. */
export function nextAfter(when: When, after: Date): Date | undefined {
  const afterMs = after.getTime();
  if (when.at) return when.at > after ? when.at : undefined;
  if (when.everySeconds > 0n) {
    const everyMs = Number(when.everySeconds) * 1_000;
    return new Date((Math.floor(afterMs / everyMs) + 1) * everyMs);
  }
  const next = nextCron(when, afterMs);
  return next === undefined ? undefined : new Date(next);
}
