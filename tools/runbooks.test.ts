import { expect, test } from "vitest";
import { commandsOf, isRehearsed, type Known, strangeIn } from "./runbooks.ts";

const known: Known = {
  commands: commandsOf(`
    '') names='job doctor' ;;
    'job') names='list' ;;
    'job list') names='' ;;
    'doctor') names='' ;;
    'job list') flags='--state --json' ;;
    'doctor') flags='--fix' ;;`),
  alerts: new Set(["ChomFailedJobs"]),
  isMetric: (name) => name === "chom_failed_jobs",
  testsOf: (file) => (file === "a.test.ts" ? new Set(["it holds"]) : undefined),
};

test("a runbook of what there is passes", () => {
  const page =
    'Alert: `ChomFailedJobs`.\n```sh\nchom job list --state failed   # all\nkubectl get pods\n```\n`chom doctor --fix`, `max(chom_failed_jobs)`.\n\nRehearsed by: `a.test.ts` "it holds".\n';
  expect(strangeIn(page, known)).toEqual([]);
  expect(isRehearsed(page)).toBe(true);
  expect(isRehearsed("no test")).toBe(false);
});

test("commands, options, alerts, metrics and tests that there are not are each named", () => {
  const page =
    'ChomNothing `chom jobs list` `chom job show X` `chom doctor --mend` chom_nothing\nRehearsed by: `a.test.ts` "it does not", `b.test.ts`.';
  expect(strangeIn(page, known)).toEqual([
    "there is no chom jobs",
    "chom job has no show",
    "chom doctor has no --mend",
    "there is no alert ChomNothing",
    "there is no metric chom_nothing",
    'a.test.ts has no test "it does not"',
    "there is no b.test.ts",
  ]);
  expect(strangeIn("Rehearsed by: hope.", known)).toEqual(["its rehearsal names no test"]);
});
