/** What becomes of the ticks that are due: fired, skipped or missed; each planned tick once. Pure. */
import {
  MisfirePolicy,
  OverlapPolicy,
  type ScheduleSpec,
} from "@chom/proto/chom/scheduler/v1/schedules";
import { nextAfter } from "./planned-times.ts";

/** A tick is late when nobody looked for so long after its time. */
export const lateAfterMs = 60_000;
const dayMs = 86_400_000;
/** At most so many ticks are looked at in one go; the rest in the next. */
const ticksMax = 10_000;

export type Due = {
  readonly spec: ScheduleSpec;
  /** Everything planned until here has been recorded. */
  readonly plannedThrough: Date;
  readonly paused: boolean;
  /** The job of the last tick that fired has not ended. */
  readonly busy: boolean;
  readonly now: Date;
};

export type Decided =
  | { readonly outcome: "fired"; readonly at: Date }
  | {
      readonly outcome: "skipped" | "missed";
      readonly reason: string;
      readonly first: Date;
      readonly last: Date;
      readonly count: number;
    };

function plannedUntil({ spec, plannedThrough, now }: Due): Date[] {
  const planned: Date[] = [];
  let at = nextAfter(spec, plannedThrough);
  while (at && at <= now && planned.length < ticksMax) {
    planned.push(at);
    at = nextAfter(spec, at);
  }
  return planned;
}

function together(
  outcome: "skipped" | "missed",
  reason: string,
  ticks: readonly Date[],
): Decided[] {
  const [first] = ticks;
  const last = ticks.at(-1);
  return first && last ? [{ outcome, reason, first, last, count: ticks.length }] : [];
}

/** Which of the late ticks may still fire. */
function stillWanted({ spec, now }: Due, late: readonly Date[]): readonly Date[] {
  const windowMs = Number(spec.misfireWindowSeconds) * 1_000 || dayMs;
  const within = late.filter((at) => now.getTime() - at.getTime() <= windowMs);
  if (spec.misfire === MisfirePolicy.SKIP) return [];
  return spec.misfire === MisfirePolicy.ALL ? within : within.slice(-1);
}

/**
 * The first thing to record about what is due; nothing when nothing is, or when it waits for the end of a job. One
 * at a time, because whether the next tick may fire depends on the job of this one.
 */
export function decideNext(due: Due): Decided | undefined {
  const { spec, now, paused, busy } = due;
  const planned = plannedUntil(due);
  if (planned.length === 0) return undefined;
  if (paused) return together("skipped", "paused", planned)[0];
  if (spec.overlap === OverlapPolicy.QUEUE) {
    if (busy) return undefined;
    const [skipped] = together("skipped", "overlap", planned.slice(0, -1));
    return skipped ?? { outcome: "fired", at: planned[0] as Date };
  }
  const late = planned.filter((at) => now.getTime() - at.getTime() > lateAfterMs);
  const wanted = stillWanted(due, late);
  const isLatest = spec.misfire !== MisfirePolicy.ALL && spec.misfire !== MisfirePolicy.SKIP;
  // The latest of them is one that comes in time, when there is one.
  const firing = isLatest && planned.length > late.length ? [] : wanted;
  const missed = late.filter((at) => !firing.includes(at));
  const [gone] = together("missed", "nobody was there for it", missed);
  if (gone) return gone;
  const [at] = planned;
  if (!at) return undefined;
  const isFree = !busy || spec.overlap === OverlapPolicy.ALLOW;
  return isFree ? { outcome: "fired", at } : together("skipped", "overlap", [at])[0];
}
