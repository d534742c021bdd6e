/** Fails when a runbook names a command, option, alert, metric or test that there is not, or too few are rehearsed. */
import { execFileSync } from "node:child_process";
import { existsSync, globSync, readFileSync } from "node:fs";
import { testNames } from "./conformance.ts";
import { commandsOf, isRehearsed, type Known, strangeIn } from "./runbooks.ts";

/** The likeliest incidents have a test that runs what their page says. */
const rehearsedMin = 10;

const completion = execFileSync(
  process.execPath,
  ["packages/cli/src/main.ts", "completion", "bash"],
  { encoding: "utf8" },
);
const rules = readFileSync("deploy/observability/rules.yml", "utf8");
const sources = globSync("{packages,services}/*/src/**/*.ts")
  .filter((path) => !path.endsWith(".test.ts"))
  .map((path) => readFileSync(path, "utf8"))
  .join("\n");
const known: Known = {
  commands: commandsOf(completion),
  alerts: new Set([...rules.matchAll(/alert: "?(\w+)/g)].map(([, name = ""]) => name)),
  isMetric: (name) => sources.includes(`"${name}"`),
  testsOf: (file) => (existsSync(file) ? testNames(readFileSync(file, "utf8")) : undefined),
};
const pages = globSync("docs/runbooks/*.md").map((path) => ({
  path,
  page: readFileSync(path, "utf8"),
}));
const problems = pages.flatMap(({ path, page }) =>
  strangeIn(page, known).map((problem) => `${path}: ${problem}`),
);
const rehearsed = pages.filter(({ page }) => isRehearsed(page)).length;
if (rehearsed < rehearsedMin) problems.push(`only ${rehearsed} runbooks are rehearsed by a test`);
for (const problem of problems) console.error(problem);
console.log(`${pages.length} runbooks, ${rehearsed} of them rehearsed`);
process.exit(problems.length === 0 ? 0 : 1);
