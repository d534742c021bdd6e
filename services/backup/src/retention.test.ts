import fc from "fast-check";
import { expect, test } from "vitest";
import { decideRetention, defaultRules, type RetentionPoint } from "./retention.ts";

const dayMs = 86_400_000;
const now = new Date("2026-06-30T12:00:00Z");
const point = (
  backupId: string,
  takenAt: Date,
  more: Partial<RetentionPoint> = {},
): RetentionPoint => ({
  backupId,
  kind: "full",
  takenAt,
  isVerified: false,
  isSafetyPoint: false,
  isSuspicious: false,
  ...more,
});
const ago = (days: number) => new Date(now.getTime() - days * dayMs);
const keptOf = (points: readonly RetentionPoint[], at = now) =>
  decideRetention(points, defaultRules, at)
    .filter(({ isKept }) => isKept)
    .map(({ backupId }) => backupId);

const anyPoints = fc
  .array(
    fc.record({
      minutes: fc.integer({ min: 0, max: 700 * 1440 }),
      kind: fc.constantFrom("full", "files"),
      isVerified: fc.boolean(),
      isSafetyPoint: fc.boolean(),
      isSuspicious: fc.boolean(),
    }),
    { maxLength: 60 },
  )
  .map((all) =>
    all.map(({ minutes, ...more }, at) =>
      point(`p${at}`, new Date(now.getTime() - minutes * 60_000), more),
    ),
  );

/** Written the other way round: asks of each point whether a rule wants it, by counting the buckets newer than its own. */
function isWanted(all: readonly RetentionPoint[], one: RetentionPoint): boolean {
  const age = (now.getTime() - one.takenAt.getTime()) / dayMs;
  const isNewer = (a: RetentionPoint, b: RetentionPoint) =>
    a.takenAt > b.takenAt || (+a.takenAt === +b.takenAt && a.backupId > b.backupId);
  const same = all.filter(({ kind }) => kind === one.kind);
  const proper = same.filter((other) => !other.isSafetyPoint && !other.isSuspicious);
  const newer = (among: RetentionPoint[]) => among.filter((other) => isNewer(other, one));
  if (newer(same).length === 0) return true;
  if (one.isVerified && newer(same).every(({ isVerified }) => !isVerified)) return true;
  if (one.isSafetyPoint && age < 7) return true;
  if (one.isSuspicious && age < 30) return true;
  if (!proper.includes(one)) return false;
  if (newer(proper).length < 2) return true;
  const thursday = (at: Date) => Math.floor((Math.floor(+at / dayMs) + 3) / 7);
  const scales: [number, (at: Date) => number][] = [
    [7, (at) => Math.floor(+at / dayMs)],
    [4, thursday],
    [12, (at) => at.getUTCFullYear() * 12 + at.getUTCMonth()],
  ];
  return scales.some(([count, bucket]) => {
    const own = bucket(one.takenAt);
    const newerBuckets = newer(proper).map(({ takenAt }) => bucket(takenAt));
    return !newerBuckets.includes(own) && new Set(newerBuckets).size < count;
  });
}

test("the policy and its oracle agree on every point", () => {
  fc.assert(
    fc.property(anyPoints, (points) => {
      const wanted = points.filter((one) => isWanted(points, one)).map(({ backupId }) => backupId);
      expect(keptOf(points).toSorted()).toEqual(wanted.toSorted());
    }),
    { numRuns: 300 },
  );
});

test("applying it twice changes nothing, and order of input does not matter", () => {
  fc.assert(
    fc.property(anyPoints, (points) => {
      const kept = keptOf(points);
      expect(keptOf(points.toReversed())).toEqual(kept);
      expect(keptOf(points.filter(({ backupId }) => kept.includes(backupId)))).toEqual(kept);
    }),
  );
});

test("two years of daily points shrink to seven days, four weeks and twelve months", () => {
  const points = Array.from({ length: 730 }, (_, at) => point(`d${at}`, ago(at)));
  const kept = keptOf(points);
  expect(kept.length).toBeGreaterThanOrEqual(7 + 2 + 10);
  expect(kept.length).toBeLessThanOrEqual(7 + 4 + 12);
  expect(kept.slice(0, 7)).toEqual(["d0", "d1", "d2", "d3", "d4", "d5", "d6"]);
});

test("the last two and the last verified point stay however old they are", () => {
  const old = [
    point("a", ago(4000)),
    point("b", ago(4001)),
    point("v", ago(5000), { isVerified: true }),
  ];
  expect(keptOf(old)).toEqual(["a", "b", "v"]);
});

test("a point from the future means a wrong clock, and everything stays", () => {
  const points = Array.from({ length: 50 }, (_, at) => point(`d${at}`, ago(at)));
  expect(keptOf([...points, point("f", ago(-1))])).toHaveLength(51);
});

test("a point is kept until the promised day", () => {
  const many = Array.from({ length: 20 }, (_, at) => point(`d${at}`, ago(at)));
  const held = (keepUntil: Date) =>
    point("held", new Date(ago(9).getTime() + 1), { keepUntil, isSafetyPoint: true });
  expect(keptOf([...many, held(ago(-1))])).toContain("held");
  expect(keptOf([...many, held(ago(1))])).not.toContain("held");
});

/** Days since 1970 as year, month (0 to 11) and day, by the calendar's own arithmetic (no Date). */
function civil(days: number): { year: number; month: number; day: number } {
  let [year, left] = [1970, days];
  const isLeap = (y: number) => (y % 4 === 0 && y % 100 !== 0) || y % 400 === 0;
  for (; left >= (isLeap(year) ? 366 : 365); year += 1) left -= isLeap(year) ? 366 : 365;
  const lengths = [31, isLeap(year) ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
  let month = 0;
  for (; left >= (lengths[month] ?? 31); month += 1) left -= lengths[month] ?? 31;
  return { year, month, day: left + 1 };
}

/** What must be there of one backup a day without a gap, said without buckets: by walking the calendar back. */
function wantedDays(today: number, first: number): number[] {
  const wanted = new Set<number>();
  for (let at = 0; at < 7; at += 1) wanted.add(today - at);
  // 1970-01-05 was a Monday: the day before each Monday ends a week.
  let sunday = today - ((today + 3) % 7) - 1;
  for (let at = 0; at < 3; at += 1, sunday -= 7) wanted.add(sunday);
  let lastOfMonth = today - civil(today).day;
  for (let at = 0; at < 11; at += 1) {
    wanted.add(lastOfMonth);
    lastOfMonth -= civil(lastOfMonth).day;
  }
  return [...wanted].filter((day) => day >= first).toSorted((a, b) => b - a);
}

const dayNumber = fc.integer({ min: 20_000, max: 40_000 });
const minuteOfDay = fc.integer({ min: 0, max: 1_439 });
const atMinute = (day: number, minute: number) => new Date(day * dayMs + minute * 60_000);

test("twenty years of daily backups, cleaned as time goes: on every day exactly what the calendar says is there", () => {
  const years = 20 * 365 + 5;
  fc.assert(
    fc.property(dayNumber, minuteOfDay, (first, minute) => {
      let there: RetentionPoint[] = [];
      for (let day = first; day < first + years; day += 1) {
        there = [...there, point(`d${day}`, atMinute(day, minute))];
        const kept = keptOf(there, atMinute(day, minute));
        there = there.filter(({ backupId }) => kept.includes(backupId));
        expect(kept).toEqual(wantedDays(day, first).map((wanted) => `d${wanted}`));
      }
    }),
    { numRuns: 3 },
  );
});

test("cleaning seldom or late comes to the same, and never needs what an earlier cleaning let go", () => {
  const pauses = fc.array(fc.integer({ min: 1, max: 45 }), { minLength: 100, maxLength: 160 });
  fc.assert(
    fc.property(dayNumber, minuteOfDay, pauses, (first, minute, everyDays) => {
      let there: RetentionPoint[] = [];
      let day = first - 1;
      for (const days of everyDays) {
        for (let at = 0; at < days; at += 1) {
          day += 1;
          there.push(point(`d${day}`, atMinute(day, minute)));
        }
        const kept = keptOf(there, atMinute(day, minute));
        there = there.filter(({ backupId }) => kept.includes(backupId));
        expect(kept).toEqual(wantedDays(day, first).map((wanted) => `d${wanted}`));
      }
    }),
    { numRuns: 20 },
  );
});

test("with gaps, proofs and retries, what is let go day by day is what the whole history would let go", () => {
  const days = fc.array(
    fc.array(fc.record({ minute: minuteOfDay, isVerified: fc.boolean() }), { maxLength: 2 }),
    { minLength: 300, maxLength: 420 },
  );
  fc.assert(
    fc.property(dayNumber, days, (first, history) => {
      const all: RetentionPoint[] = [];
      let there: RetentionPoint[] = [];
      for (const [at, backups] of history.entries()) {
        const made = backups.map(({ minute, isVerified }, index) =>
          point(`d${String(at).padStart(4, "0")}-${index}`, atMinute(first + at, minute), {
            isVerified,
          }),
        );
        all.push(...made);
        there.push(...made);
        const kept = keptOf(there, atMinute(first + at + 1, 0));
        there = there.filter(({ backupId }) => kept.includes(backupId));
      }
      const now = atMinute(first + history.length, 0);
      expect(keptOf(there, now)).toEqual(keptOf(all, now));
    }),
    { numRuns: 10 },
  );
});
