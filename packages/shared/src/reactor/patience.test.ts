import fc from "fast-check";
import { expect, test } from "vitest";
import { triesWithin, waitAfterMs } from "./patience.ts";

test("waits double up to half a minute", () => {
  expect([1, 2, 3, 5, 6, 40].map(waitAfterMs)).toEqual([
    1_000, 2_000, 4_000, 16_000, 30_000, 30_000,
  ]);
});

test("the waits between all tries are as long as the patience, and would be shorter with one try less", () => {
  const waited = (tries: number) =>
    Array.from({ length: tries - 1 }, (_, n) => waitAfterMs(n + 1)).reduce((a, b) => a + b, 0);
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 86_400_000 }), (maxMs) => {
      const tries = triesWithin(maxMs);
      expect(waited(tries)).toBeGreaterThanOrEqual(maxMs);
      expect(waited(tries - 1)).toBeLessThan(maxMs);
    }),
  );
  expect(triesWithin(0)).toBe(1);
});
