import { expect, test } from "vitest";
import { brokenCases } from "./threat-model.ts";

const cases = [1, 2].map((number) => ({ case: number, area: "a", expectation: "e" }));

test("each threat leads to a case that exists, or to a test", () => {
  const page = [
    "| threat | what | wall | shown by |",
    "| T1 | a | b | 1, 2 |",
    '| T2 | a | b | `packages/a/src/a.test.ts` "it holds 99 times" |',
    "| T3 | a | b | 3 |",
    "| T4 | a | b | nobody |",
  ].join("\n");
  expect(brokenCases(page, cases)).toEqual([
    "4: there is no case 3",
    "5: T4 names neither case nor test",
  ]);
});
