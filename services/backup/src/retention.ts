/** Which recovery points to keep: grandfather, father, son over UTC calendar buckets, with floors that no rule goes below. */

/** A point that is available or verified; others never come here. */
export type RetentionPoint = {
  backupId: string;
  kind: string;
  takenAt: Date;
  isVerified: boolean;
  isSafetyPoint: boolean;
  isSuspicious: boolean;
  /** Kept at least until then, whatever the rules say. */
  keepUntil?: Date | undefined;
};

export type RetentionRules = {
  daily: number;
  weekly: number;
  monthly: number;
  /** How long a point made before a restore is kept. */
  safetyDays: number;
  /** How long a point of an unusual size is kept beside the others. */
  suspiciousDays: number;
};

export const defaultRules: RetentionRules = {
  daily: 7,
  weekly: 4,
  monthly: 12,
  safetyDays: 7,
  suspiciousDays: 30,
};

/** After so many failed runs in a row nothing is let go: the old points may be all there is. */
export const failuresThatStop = 3;

/** Rule that keeps the point, or `none`. */
export type Verdict = { backupId: string; isKept: boolean; rule: string };

const dayMs = 86_400_000;

/**
 * Decides over all points of one site, newest first. For each kind: the newest point of each of the last so many days,
 * weeks (Monday first) and months that have points; like restic, buckets without points are not counted. The newest two
 * and the newest verified point of a kind always stay. When `now` lies before the newest point the clock is wrong, and
 * everything stays.
 */
export function decideRetention(
  points: readonly RetentionPoint[],
  rules: RetentionRules,
  now: Date,
): readonly Verdict[] {
  const newestFirst = [...points].sort(
    (a, b) => b.takenAt.getTime() - a.takenAt.getTime() || (a.backupId < b.backupId ? 1 : -1),
  );
  const isClockWrong = newestFirst.some(({ takenAt }) => takenAt > now);
  const kept = new Map<string, string>();
  const keep = (point: RetentionPoint | undefined, rule: string) => {
    if (point && !kept.has(point.backupId)) kept.set(point.backupId, rule);
  };
  for (const kind of new Set(newestFirst.map((point) => point.kind))) {
    keepOfKind(
      newestFirst.filter((point) => point.kind === kind),
      rules,
      keep,
    );
  }
  for (const point of newestFirst) {
    if (isClockWrong) keep(point, "clock");
    if (point.keepUntil && point.keepUntil > now) keep(point, "keep-until");
    const ageDays = (now.getTime() - point.takenAt.getTime()) / dayMs;
    if (point.isSafetyPoint && ageDays < rules.safetyDays) keep(point, "safety");
    if (point.isSuspicious && ageDays < rules.suspiciousDays) keep(point, "suspicious");
  }
  return newestFirst.map(({ backupId }) => {
    const rule = kept.get(backupId);
    return { backupId, isKept: rule !== undefined, rule: rule ?? "none" };
  });
}

type Keep = (point: RetentionPoint | undefined, rule: string) => void;

function keepOfKind(points: readonly RetentionPoint[], rules: RetentionRules, keep: Keep): void {
  // What a restore left or what looks wrong must not take the place of a proper point.
  const proper = points.filter(
    ({ isSafetyPoint, isSuspicious }) => !isSafetyPoint && !isSuspicious,
  );
  keep(points[0], "newest");
  for (const point of proper.slice(0, 2)) keep(point, "newest");
  keep(
    points.find(({ isVerified }) => isVerified),
    "newest-verified",
  );
  const buckets = [
    ["daily", rules.daily, dayOf],
    ["weekly", rules.weekly, weekOf],
    ["monthly", rules.monthly, monthOf],
  ] as const;
  for (const [rule, count, bucketOf] of buckets) {
    const seen = new Set<string>();
    for (const point of proper) {
      const bucket = bucketOf(point.takenAt);
      if (seen.has(bucket) || seen.size >= count) continue;
      seen.add(bucket);
      keep(point, rule);
    }
  }
}

const dayOf = (at: Date): string => at.toISOString().slice(0, 10);
const monthOf = (at: Date): string => at.toISOString().slice(0, 7);
/** The Monday that the week began with. */
const weekOf = (at: Date): string =>
  dayOf(new Date(at.getTime() - ((at.getUTCDay() + 6) % 7) * dayMs));
