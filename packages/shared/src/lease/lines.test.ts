import fc from "fast-check";
import { expect, test } from "vitest";
import { lines, lookAgainMsOf, turnAfterMs } from "./lines.ts";

test("whoever comes and goes, the oldest is first and everyone knows how many are ahead", () => {
  const step = fc.record({ id: fc.integer({ min: 0, max: 30 }), comes: fc.boolean() });
  fc.assert(
    fc.property(fc.array(step), (steps) => {
      const [line, oracle] = [lines(), new Set<string>()];
      for (const { id: number, comes } of steps) {
        const id = String(number).padStart(2, "0");
        if (comes) oracle.add(id);
        else oracle.delete(id);
        line[comes ? "put" : "drop"]("k", id);
        const inOrder = [...oracle].toSorted();
        expect(line.oldest("k")).toBe(inOrder[0]);
        expect(inOrder.map((each) => line.ahead("k", each))).toEqual([...inOrder.keys()]);
      }
      expect(line.oldest("other")).toBeUndefined();
    }),
  );
});

test("five thousand who wait look less than thirty times a second together, and each within its ticket's life", () => {
  const waits = Array.from({ length: 5_000 }, (_, ahead) => lookAgainMsOf(ahead));
  expect(waits[0]).toBe(15_000);
  expect(waits.reduce((sum, waitMs) => sum + 1_000 / waitMs, 0)).toBeLessThan(30);
  expect(Math.max(...waits)).toBeLessThanOrEqual(300_000);
});

test("those who wait for a limit come back one after another, as often as it has room", () => {
  expect([0, 1, 10].map((ahead) => turnAfterMs(ahead, 600))).toEqual([0, 600, 6_000]);
  expect(turnAfterMs(5_000, 3_600_000)).toBe(3_600_000);
});
