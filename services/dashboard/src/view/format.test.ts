import { expect, test } from "vitest";
import { ago, shortId, size, span, word } from "./format.ts";
import { textOf } from "./html.ts";

test("spans have one unit, and tenths only where they say something", () => {
  const all = [0, 12, 999, 1_500, 59_000, 90_000, 3_600_000, 86_400_000 * 12].map(span);
  expect(all).toEqual(["0 ms", "12 ms", "999 ms", "1.5 s", "59 s", "1.5 min", "1 h", "12 d"]);
  expect(span(-5)).toBe("0 ms");
});

test("sizes grow in steps of a thousand", () => {
  const all = [0n, 999n, 1_000n, 12_345n, 5_600_000_000n].map(size);
  expect(all).toEqual(["0 B", "999 B", "1.0 kB", "12 kB", "5.6 GB"]);
});

test("times are relative, with the exact one beside them", () => {
  const now = new Date("2026-03-01T12:00:00Z");
  const shown = textOf(ago(new Date("2026-03-01T11:58:00Z"), now));
  expect(shown).toContain('title="2026-03-01 11:58:00 UTC"');
  expect(shown).toContain(">2 min ago<");
  expect(textOf(ago(new Date("2026-03-02T12:00:00Z"), now))).toContain("in 1 d");
  expect(textOf(ago(undefined, now))).toContain("–");
});

test("long ids are cut, words of enums are read", () => {
  expect(shortId("a".repeat(26))).toHaveLength(18);
  expect(word("BACKUP_STATUS_AVAILABLE")).toBe("available");
  expect(word("JOB_STATE_RUNNING")).toBe("running");
});
