import { expect, test } from "vitest";
import { openCases, pageOf, problemsOf, type SecurityCase, testsByCase } from "./case-report.ts";

const row = (number: number, more: Partial<SecurityCase> = {}): SecurityCase => ({
  ...{ case: number, area: "Walls", expectation: `holds | ${number}` },
  ...more,
});
const source = `
test("case 1: it holds", () => {});
test.each([1])("case 1, 3: %s is refused", () => {});
test("in case 2: not at the beginning", () => {});`;
const tests = testsByCase([{ file: "packages/a/src/a.test.ts", source }]);

test("a test shows the cases whose numbers its name begins with", () => {
  expect([...tests.keys()]).toEqual([1, 3]);
  expect(tests.get(1)?.map(({ test }) => test)).toEqual([
    "case 1: it holds",
    "case 1, 3: %s is refused",
  ]);
});

test("a case needs a test, a reason or an admission, and each number comes once and in order", () => {
  expect(problemsOf([row(1), row(2, { notYet: "later" }), row(3)], tests)).toEqual([]);
  expect(problemsOf([row(1), row(2), row(4, { doesNotApply: "no" })], tests)).toEqual([
    "row 3 is case 4",
    'case 2 has no test, no "doesNotApply" and no "notYet"',
    "packages/a/src/a.test.ts: there is no case 3",
  ]);
  expect(problemsOf([row(1, { doesNotApply: "no" })], tests)).toContain(
    "case 1 does not apply, but has a test",
  );
});

test("the page counts what is shown and names what is not", () => {
  const cases = [row(1, { partly: "the rest" }), row(2, { notYet: "later" }), row(3)];
  expect(openCases(cases, tests)).toEqual([2]);
  const page = pageOf(cases, tests);
  expect(page).toContain("3 cases: 2 shown by tests, 1 not yet, 0 that do not apply.");
  expect(page).toContain("| 2 | holds \\| 2 | not yet: later |");
  expect(page).toContain('"case 1, 3: %s is refused"<br>not shown: the rest |');
});
