import { expect, test } from "vitest";
import { namedTests, testNames, unproven } from "./conformance.ts";

const page = [
  "| behaviour | shown by |",
  "|---|---|",
  '| a | `packages/a/src/a.test.ts` "it holds"<br>`services/b/src/b.int.test.ts` "%s is refused" |',
  "| b | not yet |",
  "| c | somebody says so |",
].join("\n");

test("a row names its tests by file and name", () => {
  expect(namedTests(page)).toEqual([
    { line: 3, file: "packages/a/src/a.test.ts", test: "it holds" },
    { line: 3, file: "services/b/src/b.int.test.ts", test: "%s is refused" },
  ]);
});

test("a row without a test has to say so", () => {
  expect(unproven(page)).toEqual([5]);
});

test("names are found in plain tests, in tables of tests and over line breaks", () => {
  const source = `
test("it holds", () => {});
test.each([1])("%s is refused", (each) => each);
test.skipIf(isAway)(
  'what isn\\'t there',
  () => {},
);`;
  expect([...testNames(source)]).toEqual(["it holds", "%s is refused", "what isn't there"]);
});
