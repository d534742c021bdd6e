/** A sliding window: never more than so many charges in any span of so much time. Pure. */

/** At most `count` (1 to 1,000) charges in any `perMs` (1 s to 31 days). */
export type Rate = { readonly count: number; readonly perMs: number };

/** When each charge that still counts was made, in ms, oldest first. */
export type Charges = readonly number[];

export type Charged = { readonly charges: Charges; readonly at: number };

/** The charges with one more, or the earliest time (ms) at which there may be room. A refusal charges nothing. */
export function charge(
  { count, perMs }: Rate,
  charges: Charges,
  nowMs: number,
): Charged | { readonly untilMs: number } {
  // A process whose clock is behind charges at the newest time seen, so that the window stays sorted.
  const at = Math.max(nowMs, charges.at(-1) ?? nowMs);
  const kept = charges.filter((each) => each > at - perMs);
  if (kept.length < count) return { charges: [...kept, at], at };
  return { untilMs: (kept[kept.length - count] ?? at) + perMs };
}

/** The charges without one that was made at a time and came to nothing. */
export function refund(charges: Charges, at: number): Charges {
  const index = charges.lastIndexOf(at);
  return index < 0 ? charges : charges.toSpliced(index, 1);
}
