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
