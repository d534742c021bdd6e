/** Local time and moments: which moments a local time is, by the IANA zone data of the runtime. Pure. */
import { zoneNameProblem } from "@chom/shared/input/cron";
import { fits } from "@chom/shared/input/grammar";

const formats = new Map<string, Intl.DateTimeFormat>();

function formatOf(zone: string): Intl.DateTimeFormat {
  const known = formats.get(zone);
  if (known) return known;
  const made = new Intl.DateTimeFormat("en-US", {
    timeZone: zone,
    hourCycle: "h23",
    year: "numeric",
    month: "numeric",
    day: "numeric",
    hour: "numeric",
    minute: "numeric",
    second: "numeric",
  });
  if (formats.size > 500) formats.clear();
  formats.set(zone, made);
  return made;
}

/** True for an IANA name that the runtime knows. Offsets like `+02:00` are none: they know no change of the clocks. */
export function isZone(zone: string): boolean {
  if (!fits(zoneNameProblem, zone)) return false;
  try {
    formatOf(zone);
    return true;
  } catch {
    return false;
  }
}

/** Local time as milliseconds, as if it were UTC; to the second. */
export function localOf(zone: string, atMs: number): number {
  if (zone === "UTC") return atMs;
  const part: Record<string, number> = {};
  for (const { type, value } of formatOf(zone).formatToParts(atMs)) part[type] = Number(value);
  const { year = 0, month = 1, day = 1, hour = 0, minute = 0, second = 0 } = part;
  return Date.UTC(year, month - 1, day, hour, minute, second);
}

/** Local time less UTC at a moment. */
export const offsetAt = (zone: string, atMs: number): number => {
  const second = Math.floor(atMs / 1_000) * 1_000;
  return localOf(zone, second) - second;
};

/** Clocks change at most once within so long on either side. */
const surelyMs = 26 * 3_600_000;

/** The moments that are this local time, oldest first: one, two when it comes twice, none when it is left out. */
export function momentsOf(zone: string, localMs: number): readonly number[] {
  if (zone === "UTC") return [localMs];
  const offsets = new Set([
    offsetAt(zone, localMs - surelyMs),
    offsetAt(zone, localMs),
    offsetAt(zone, localMs + surelyMs),
  ]);
  const moments = [...offsets]
    .map((offset) => localMs - offset)
    .filter((moment) => localOf(zone, moment) === localMs);
  return [...new Set(moments)].toSorted((a, b) => a - b);
}

/** The moment at which the clocks leap over a local time that is left out. */
export function leapOver(zone: string, localMs: number): number {
  let before = localMs - surelyMs;
  let after = localMs + surelyMs;
  // Local time is smaller than the one sought until the leap, and larger from it on.
  while (after - before > 1_000) {
    const middle = Math.floor((before + after) / 2_000) * 1_000;
    if (localOf(zone, middle) < localMs) before = middle;
    else after = middle;
  }
  return after;
}
