import {
  MisfirePolicy,
  OverlapPolicy,
  ScheduleSpec,
} from "@chom/proto/chom/scheduler/v1/schedules";
import fc from "fast-check";
import { expect, test } from "vitest";
import { type Decided, decideNext, lateAfterMs } from "./decide-ticks.ts";

const start = new Date("2026-11-24T00:00:00Z");
const after = (minutes: number) => new Date(start.getTime() + minutes * 60_000);
const everyFive = (more: Partial<ScheduleSpec> = {}) =>
  ScheduleSpec.fromPartial({ everySeconds: 300n, ...more });
const due = { spec: everyFive(), plannedThrough: start, paused: false, busy: false };

test("nothing is due before its time", () => {
  expect(decideNext({ ...due, now: after(4) })).toBeUndefined();
});

test("a tick fires at its time", () => {
  expect(decideNext({ ...due, now: after(5) })).toEqual({ outcome: "fired", at: after(5) });
});

test("while a job runs, its schedule's tick is skipped, waits or fires, as the policy says", () => {
  const busy = { ...due, busy: true, now: after(5) };
  const by = (overlap: OverlapPolicy) => decideNext({ ...busy, spec: everyFive({ overlap }) });
  expect(by(OverlapPolicy.SKIP)).toMatchObject({ outcome: "skipped", reason: "overlap" });
  expect(by(OverlapPolicy.QUEUE)).toBeUndefined();
  expect(by(OverlapPolicy.ALLOW)).toMatchObject({ outcome: "fired" });
});

test("after the job's end the latest waiting tick fires and the others are skipped", () => {
  const spec = everyFive({ overlap: OverlapPolicy.QUEUE });
  expect(decideNext({ ...due, spec, now: after(16) })).toMatchObject({
    ...{ outcome: "skipped", reason: "overlap", count: 2, first: after(5), last: after(10) },
  });
  expect(decideNext({ ...due, spec, plannedThrough: after(10), now: after(16) })).toEqual({
    ...{ outcome: "fired", at: after(15) },
  });
});

test("what was planned while paused is skipped, told once", () => {
  expect(decideNext({ ...due, paused: true, now: after(20) })).toMatchObject({
    ...{ outcome: "skipped", reason: "paused", count: 4 },
  });
});

type Run = { readonly fired: Date[]; readonly skipped: number; readonly missed: number };

/** Looks at the schedule at these minutes only, as a process that is up now and then. */
function live(spec: ScheduleSpec, looks: readonly number[]): Run {
  let plannedThrough = start;
  const run = { fired: [] as Date[], skipped: 0, missed: 0 };
  for (const look of looks) {
    const now = after(look);
    for (;;) {
      const decided: Decided | undefined = decideNext({
        ...{ spec, plannedThrough, paused: false, busy: false, now },
      });
      if (!decided) break;
      plannedThrough = decided.outcome === "fired" ? decided.at : decided.last;
      if (decided.outcome === "fired") run.fired.push(decided.at);
      else run[decided.outcome] += decided.count;
    }
  }
  return run;
}

const looks = fc
  .uniqueArray(fc.integer({ min: 1, max: 3_000 }), { minLength: 1, maxLength: 60 })
  .map((minutes) => minutes.toSorted((a, b) => a - b));
const misfires = fc.constantFrom(MisfirePolicy.SKIP, MisfirePolicy.LATEST, MisfirePolicy.ALL);
const windows = fc.constantFrom(0n, 600n, 3_600n);

test("every planned tick is recorded once, whenever somebody was there to look", () => {
  fc.assert(
    fc.property(looks, misfires, windows, (at, misfire, misfireWindowSeconds) => {
      const { fired, skipped, missed } = live(everyFive({ misfire, misfireWindowSeconds }), at);
      const last = at.at(-1) ?? 0;
      expect(fired.length + skipped + missed).toBe(Math.floor(last / 5));
      expect(new Set(fired.map(Number)).size).toBe(fired.length);
    }),
  );
});

test("late ticks fire as the misfire policy says, judged by an oracle over each look", () => {
  fc.assert(
    fc.property(looks, misfires, windows, (at, misfire, misfireWindowSeconds) => {
      const { fired } = live(everyFive({ misfire, misfireWindowSeconds }), at);
      const windowMinutes = Number(misfireWindowSeconds) / 60 || 1_440;
      const expected: number[] = [];
      let seen = 0;
      for (const look of at) {
        const ticks: number[] = [];
        for (let tick = seen + 5; tick <= look; tick += 5) ticks.push(tick);
        seen = ticks.at(-1) ?? seen;
        const isLate = (tick: number) => (look - tick) * 60_000 > lateAfterMs;
        const late = ticks.filter((tick) => isLate(tick) && look - tick <= windowMinutes);
        const inTime = ticks.filter((tick) => !isLate(tick));
        if (misfire === MisfirePolicy.ALL) expected.push(...late, ...inTime);
        else if (misfire === MisfirePolicy.SKIP) expected.push(...inTime);
        else expected.push(...(inTime.length > 0 ? inTime : late.slice(-1)));
      }
      expect(fired).toEqual(expected.map(after));
    }),
  );
});
