/** How often somebody may try, and how often everybody together may: a bucket that refills, in bounded memory. */
export type RateLimit = {
  /** Milliseconds to wait, 0 when it may be tried now (and then it counts). */
  take(key: string, now: number): number;
  /** What was taken turned out to be none of what is limited. */
  giveBack(key: string): void;
};

type Bucket = { tokens: number; at: number };

const keysMax = 10_000;

/** `burst` at once, then one every `everyMs`, for each key and (twentyfold) for all. */
export function rateLimit({ burst, everyMs }: { burst: number; everyMs: number }): RateLimit {
  const buckets = new Map<string, Bucket>();
  const all: Bucket = { tokens: burst * 20, at: 0 };
  const refill = (bucket: Bucket, now: number, factor: number): void => {
    const more = (Math.max(0, now - bucket.at) / everyMs) * factor;
    bucket.tokens = Math.min(burst * factor, bucket.tokens + more);
    bucket.at = now;
  };
  return {
    take(key, now) {
      if (buckets.size >= keysMax) buckets.clear();
      const mine = buckets.get(key) ?? { tokens: burst, at: now };
      buckets.set(key, mine);
      refill(mine, now, 1);
      refill(all, now, 20);
      const short = [mine, all].filter(({ tokens }) => tokens < 1);
      if (short.length > 0) return Math.ceil(everyMs);
      mine.tokens -= 1;
      all.tokens -= 1;
      return 0;
    },
    giveBack(key) {
      for (const [bucket, most] of [
        [buckets.get(key), burst],
        [all, burst * 20],
      ] as const) {
        if (bucket) bucket.tokens = Math.min(most, bucket.tokens + 1);
      }
    },
  };
}
