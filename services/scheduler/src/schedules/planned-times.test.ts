import { GapPolicy, RepeatPolicy, ScheduleSpec } from "@chom/proto/chom/scheduler/v1/schedules";
import fc from "fast-check";
import { expect, test } from "vitest";
import { cronProblem, nextAfter } from "./planned-times.ts";

const spec = (given: Partial<ScheduleSpec>) => ScheduleSpec.fromPartial(given);
const first = (given: Partial<ScheduleSpec>, after: string) =>
  nextAfter(spec(given), new Date(after))?.toISOString();

const minuteMs = 60_000;

/** An oracle of its own: offsets as the runtime words them, hour by hour, and then every minute of the years walked. */
function offsetsOf(zone: string, fromMs: number, toMs: number) {
  const format = new Intl.DateTimeFormat("en", { timeZone: zone, timeZoneName: "longOffset" });
  const read = (atMs: number) => {
    const text = format.formatToParts(atMs).find(({ type }) => type === "timeZoneName")?.value;
    const [, sign, hours, minutes] = /GMT(?:([+-])(\d\d):(\d\d))?/.exec(text ?? "") ?? [];
    return (sign === "-" ? -1 : 1) * (Number(hours ?? 0) * 60 + Number(minutes ?? 0)) * minuteMs;
  };
  const changes: { atMs: number; offsetMs: number }[] = [];
  for (let atMs = fromMs; atMs <= toMs; atMs += 30 * minuteMs) {
    const offsetMs = read(atMs);
    if (offsetMs !== changes.at(-1)?.offsetMs) changes.push({ atMs, offsetMs });
  }
  return changes;
}

type Fields = { minutes: readonly number[]; hours: readonly number[]; weekday: number | undefined };

const matches = ({ minutes, hours, weekday }: Fields, localMs: number): boolean => {
  const local = new Date(localMs);
  return (
    minutes.includes(local.getUTCMinutes()) &&
    hours.includes(local.getUTCHours()) &&
    (weekday === undefined || weekday === local.getUTCDay())
  );
};

function* walk(
  changes: ReturnType<typeof offsetsOf>,
  { fields, gap, repeat }: { fields: Fields; gap: GapPolicy; repeat: RepeatPolicy },
  [fromMs, toMs]: readonly [number, number],
): Generator<number> {
  let at = 0;
  let furthest = Number.NEGATIVE_INFINITY;
  let repeatsUntil = Number.NEGATIVE_INFINITY;
  for (let nowMs = fromMs; nowMs <= toMs; nowMs += minuteMs) {
    while ((changes[at + 1]?.atMs ?? Number.POSITIVE_INFINITY) <= nowMs) {
      const before = changes[at]?.offsetMs ?? 0;
      at += 1;
      const shift = (changes[at]?.offsetMs ?? 0) - before;
      if (shift < 0) repeatsUntil = nowMs + before;
    }
    const localMs = nowMs + (changes[at]?.offsetMs ?? 0);
    let runs = false;
    for (let left = furthest + minuteMs; left < localMs && furthest > 0; left += minuteMs) {
      if (gap === GapPolicy.RUN_AFTER && matches(fields, left)) runs = true;
    }
    const isSecond = localMs < repeatsUntil;
    const willRepeat =
      (changes[at + 1]?.atMs ?? Number.POSITIVE_INFINITY) - nowMs <= 180 * minuteMs &&
      localMs >=
        (changes[at + 1]?.atMs ?? 0) +
          Math.min(changes[at + 1]?.offsetMs ?? 0, changes[at]?.offsetMs ?? 0) &&
      (changes[at + 1]?.offsetMs ?? 0) < (changes[at]?.offsetMs ?? 0);
    const wanted =
      repeat === RepeatPolicy.BOTH || (repeat === RepeatPolicy.SECOND ? !willRepeat : !isSecond);
    if (wanted && matches(fields, localMs)) runs = true;
    if (runs) yield nowMs;
    furthest = Math.max(furthest, localMs);
  }
}

const years = [Date.UTC(2020, 0, 1), Date.UTC(2040, 0, 1)] as const;
const few = (max: number, most: number) =>
  fc.uniqueArray(fc.integer({ min: 0, max }), { minLength: 1, maxLength: most });

test.for(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe"])(
  "20 years in %s run at the minutes at which a walk through every minute runs them",
  { timeout: 120_000 },
  (zone) => {
    const changes = offsetsOf(zone, years[0], years[1]);
    expect(changes.length).toBeGreaterThan(39);
    const plan = fc.record({
      minutes: few(59, 2),
      // Most around the hours at which clocks change.
      hours: fc.oneof(fc.constantFrom([0], [1], [2], [3], [1, 2], [2, 3]), few(23, 2)),
      weekday: fc.option(fc.integer({ min: 0, max: 6 }), { nil: undefined, freq: 1 }),
    });
    const gaps = fc.constantFrom(GapPolicy.RUN_AFTER, GapPolicy.SKIP);
    const repeats = fc.constantFrom(RepeatPolicy.FIRST, RepeatPolicy.SECOND, RepeatPolicy.BOTH);
    fc.assert(
      fc.property(plan, gaps, repeats, (fields, gap, repeat) => {
        const { minutes, hours, weekday } = fields;
        const cron = `${minutes.join(",")} ${hours.join(",")} * * ${weekday ?? "*"}`;
        const when = spec({ cron, zone, gap, repeat });
        let next = nextAfter(when, new Date(years[0] + 86_400_000));
        for (const expected of walk(changes, { fields, gap, repeat }, years)) {
          if (expected <= years[0] + 86_400_000) continue;
          if (next?.getTime() !== expected) {
            throw new Error(
              `${cron}: ${next?.toISOString()} instead of ${new Date(expected).toISOString()}`,
            );
          }
          next = nextAfter(when, next);
        }
      }),
      { numRuns: 3 },
    );
  },
);

const berlin = { cron: "30 2 * * *", zone: "Europe/Berlin" };

test("case 62: a time that the clocks leap over runs at the leap, or not at all", () => {
  expect(first(berlin, "2026-03-28T12:00:00Z")).toBe("2026-03-29T01:00:00.000Z");
  expect(first({ ...berlin, gap: GapPolicy.SKIP }, "2026-03-28T12:00:00Z")).toBe(
    "2026-03-30T00:30:00.000Z",
  );
});

test("case 62: a time that comes twice runs the first time, the second, or both", () => {
  const on = (repeat: RepeatPolicy, after: string) => first({ ...berlin, repeat }, after);
  const [noon, one] = ["2026-10-24T12:00:00Z", "2026-10-25T00:30:00Z"];
  expect(on(RepeatPolicy.FIRST, noon)).toBe("2026-10-25T00:30:00.000Z");
  expect(on(RepeatPolicy.FIRST, one)).toBe("2026-10-26T01:30:00.000Z");
  expect(on(RepeatPolicy.SECOND, noon)).toBe("2026-10-25T01:30:00.000Z");
  expect(on(RepeatPolicy.BOTH, one)).toBe("2026-10-25T01:30:00.000Z");
});

test("many times in one leap run once", () => {
  const when = { cron: "*/5 2 * * *", zone: "Europe/Berlin" };
  expect(first(when, "2026-03-29T00:59:00Z")).toBe("2026-03-29T01:00:00.000Z");
  expect(first(when, "2026-03-29T01:00:00Z")).toBe("2026-03-30T00:00:00.000Z");
});

test("intervals are counted from a fixed moment, so that a restart moves none", () => {
  expect(first({ everySeconds: 300n }, "2026-11-24T10:02:13Z")).toBe("2026-11-24T10:05:00.000Z");
  expect(first({ everySeconds: 300n }, "2026-11-24T10:05:00Z")).toBe("2026-11-24T10:10:00.000Z");
});

test("a time set once comes once", () => {
  const at = new Date("2026-11-24T10:05:00Z");
  expect(nextAfter(spec({ at }), new Date("2026-11-24T10:04:59Z"))).toEqual(at);
  expect(nextAfter(spec({ at }), at)).toBeUndefined();
});

test.for(["0 2 * * *", "*/5 * * * *", "0 3 * * SUN", "@daily", "0 0 29 2 *"])(
  "%s is a pattern",
  (cron) => {
    expect(cronProblem(cron)).toBeUndefined();
  },
);
test.for(["", "* * * *", "* * * * * *", "61 * * * *", "0 0 30 2 *", "@reboot", "a b c d e"])(
  "%s is no pattern",
  (cron) => {
    expect(cronProblem(cron)).toMatch(/^must/);
  },
);
