/** Counts how often something was asked within a window, per key. Pure but for its own counts. */

export type WindowCount = {
  /** The how-manieth of its key in this window it is; infinite when more keys came than are remembered. */
  add(key: string, nowMs: number): number;
  /** How many there were of a key in this window. */
  seen(key: string, nowMs: number): number;
};

/** Fixed windows; at most `keysMax` keys are remembered (default 10,000), so that a flood of keys costs no memory. */
export function windowCount(options: { windowMs: number; keysMax?: number }): WindowCount {
  const counts = new Map<string, number>();
  let window = 0;
  const seen = (key: string, nowMs: number): number | undefined => {
    const current = Math.floor(nowMs / options.windowMs);
    if (current !== window) counts.clear();
    window = current;
    return counts.get(key);
  };
  return {
    add(key, nowMs) {
      const found = seen(key, nowMs);
      // Forgetting some of them instead would let a flood of new keys free the old ones of their counts.
      if (found === undefined && counts.size >= (options.keysMax ?? 10_000)) return Infinity;
      counts.set(key, (found ?? 0) + 1);
      return (found ?? 0) + 1;
    },
    seen: (key, nowMs) => seen(key, nowMs) ?? 0,
  };
}
