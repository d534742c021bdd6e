/** A cap on how often something may be asked: so many per window, counted per key. Pure but for its own counts. */

export type RateCap = {
  /** True when this one is within the cap. */
  allow(key: string, nowMs: number): boolean;
};

/** Fixed windows; at most `keysMax` keys are remembered, so that a flood of keys costs no memory. */
export function rateCap(options: { max: number; windowMs: number; keysMax?: number }): RateCap {
  const counts = new Map<string, { window: number; count: number }>();
  return {
    allow(key, nowMs) {
      const window = Math.floor(nowMs / options.windowMs);
      const found = counts.get(key);
      const count = found?.window === window ? found.count + 1 : 1;
      if (!found && counts.size >= (options.keysMax ?? 10_000)) counts.clear();
      counts.set(key, { window, count });
      return count <= options.max;
    },
  };
}
