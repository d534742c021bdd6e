import { expect, test } from "vitest";
import { behind } from "./runner-gauges.ts";

test("a busy read model that keeps reaching what was the head is not behind, however much is new", () => {
  const first = behind(undefined, 90, { sequence: 100, at: 0 });
  expect(first).toEqual({ ms: 0, mark: { sequence: 100, at: 0 } });
  const second = behind(first.mark, 150, { sequence: 180, at: 15_000 });
  expect(second).toEqual({ ms: 0, mark: { sequence: 180, at: 15_000 } });
});

test("one that does not reach it is behind for as long as it was seen not to", () => {
  const mark = { sequence: 100, at: 5_000 };
  const later = behind(mark, 99, { sequence: 400, at: 70_000 });
  expect(later).toEqual({ ms: 65_000, mark });
  expect(behind(later.mark, 100, { sequence: 400, at: 75_000 }).ms).toBe(0);
});
