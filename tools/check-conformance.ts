/** Fails when docs/conformance.md names a test that no longer exists, or has a row that shows nothing. */
import { existsSync, readFileSync } from "node:fs";
import { namedTests, testNames, unproven } from "./conformance.ts";

const file = "docs/conformance.md";
const page = readFileSync(file, "utf8");
const known = new Map<string, ReadonlySet<string>>();
const namesIn = (path: string): ReadonlySet<string> => {
  const names = known.get(path) ?? testNames(existsSync(path) ? readFileSync(path, "utf8") : "");
  known.set(path, names);
  return names;
};
const named = namedTests(page);
const problems = [
  ...named
    .filter(({ file: path, test }) => !namesIn(path).has(test))
    .map(({ line, file: path, test }) => `${file}:${line}: ${path} has no test "${test}"`),
  ...unproven(page).map((line) => `${file}:${line}: names no test, and no reason for that`),
];
for (const problem of problems) console.error(problem);
const gaps = page.split("\n").filter((line) => /\| not yet[^|]*\|$/.test(line)).length;
console.log(`${named.length} tests are named, ${gaps} behaviours have none yet`);
process.exit(problems.length === 0 ? 0 : 1);
