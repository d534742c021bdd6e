import { expect, test } from "vitest";
import { rateLimit } from "./rate-limit.ts";

test("a burst is let through, then one at a time, each address by itself", () => {
  const limit = rateLimit({ burst: 3, everyMs: 1_000 });
  expect([1, 2, 3, 4].map(() => limit.take("a", 0) > 0)).toEqual([false, false, false, true]);
  expect(limit.take("b", 0)).toBe(0);
  expect(limit.take("a", 1_000)).toBe(0);
  expect(limit.take("a", 1_000)).toBeGreaterThan(0);
});

test("many addresses together are limited too, in bounded memory", () => {
  const limit = rateLimit({ burst: 2, everyMs: 1_000 });
  let taken = 0;
  for (let at = 0; at < 25_000; at += 1) if (limit.take(`address-${at}`, 0) === 0) taken += 1;
  expect(taken).toBe(40);
});
