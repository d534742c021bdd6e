import { expect, test } from "vitest";
import { rateLimit } from "./rate-limit.ts";

test("a burst is let through, then one at a time, each address by itself", () => {
  const limit = rateLimit({ burst: 3, everyMs: 1_000 });
  expect([1, 2, 3, 4].map(() => limit.take("a", 0) > 0)).toEqual([false, false, false, true]);
  expect(limit.take("b", 0)).toBe(0);
  expect(limit.take("a", 1_000)).toBe(0);
  expect(limit.take("a", 1_000)).toBeGreaterThan(0);
});

test("what is given back may be taken again, and no more than that", () => {
  const limit = rateLimit({ burst: 1, everyMs: 1_000 });
  for (let at = 0; at < 50; at += 1) {
    expect(limit.take("a", 0)).toBe(0);
    limit.giveBack("a");
  }
  limit.giveBack("a");
  limit.giveBack("b");
  expect([1, 2].map(() => limit.take("a", 0) > 0)).toEqual([false, true]);
});

test("many addresses together are limited too, in bounded memory", () => {
  const limit = rateLimit({ burst: 2, everyMs: 1_000 });
  let taken = 0;
  for (let at = 0; at < 25_000; at += 1) if (limit.take(`address-${at}`, 0) === 0) taken += 1;
  expect(taken).toBe(40);
});
