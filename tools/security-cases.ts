/**
 * Writes docs/security-cases.md. With `--check` it writes nothing and fails when the page is stale, a case says nothing,
 * or the threat model names a test or case that shows nothing.
 */
import { existsSync, globSync, readFileSync, writeFileSync } from "node:fs";
import { openCases, pageOf, problemsOf, type SecurityCase, testsByCase } from "./case-report.ts";
import { namedTests, testNames } from "./conformance.ts";
import { brokenCases } from "./threat-model.ts";

const list = "docs/security-cases.json";
const page = "docs/security-cases.md";
const model = "docs/threat-model.md";

const read = (file: string): string => (existsSync(file) ? readFileSync(file, "utf8") : "");
const cases = JSON.parse(read(list)) as SecurityCase[];
const files = globSync(["{packages,services}/*/src/**/*.test.ts", "tools/**/*.test.ts"])
  // Its own names are examples.
  .filter((file) => file !== "tools/case-report.test.ts")
  .map((file) => ({ file, source: read(file) }));
const tests = testsByCase(files);

const problems = problemsOf(cases, tests).map((problem) => `${list}: ${problem}`);
for (const { line, file, test } of namedTests(read(model))) {
  if (!testNames(read(file)).has(test)) {
    problems.push(`${model}:${line}: ${file} has no test "${test}"`);
  }
}
problems.push(...brokenCases(read(model), cases).map((problem) => `${model}:${problem}`));
const fresh = pageOf(cases, tests);
if (!process.argv.includes("--check")) writeFileSync(page, fresh);
else if (read(page) !== fresh) {
  problems.push(`${page} is stale: run node tools/security-cases.ts`);
}
for (const problem of problems) console.error(problem);
const open = openCases(cases, tests);
console.log(`${cases.length} cases, ${open.length} not yet: ${open.join(", ")}`);
process.exit(problems.length === 0 ? 0 : 1);
