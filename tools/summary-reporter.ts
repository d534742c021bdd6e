/** Prints the slowest files, each skipped test with its reason, and `N passed, N failed, N skipped` as the very last line of a test run. */
import type { Reporter, TestModule } from "vitest/node";

type Counts = { passed: number; failed: number; skipped: number };

function count(modules: readonly TestModule[]): Counts {
  const counts: Counts = { passed: 0, failed: 0, skipped: 0 };
  for (const module of modules) {
    const tests = [...module.children.allTests()];
    // A file that could not even be loaded is a failure, though it has no tests to count.
    if (tests.length === 0 || module.errors().length > 0) counts.failed += 1;
    for (const test of tests) {
      const { state } = test.result();
      if (state === "passed") counts.passed += 1;
      else if (state === "failed") counts.failed += 1;
      else {
        counts.skipped += 1;
        console.log(`skipped: ${test.fullName}`);
      }
    }
  }
  return counts;
}

/** Where the time of the run went, slowest first. */
function slowest(modules: readonly TestModule[], most: number): string[] {
  return modules
    .map((module) => ({ name: module.relativeModuleId, ...module.diagnostic() }))
    .toSorted((one, other) => other.duration - one.duration)
    .slice(0, most)
    .map(({ name, duration }) => `${(duration / 1_000).toFixed(0).padStart(5)} s  ${name}`);
}

export default class SummaryReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly unknown[]): void {
    const { passed, failed, skipped } = count(modules);
    if (modules.length > 1) console.log(["slowest files:", ...slowest(modules, 25)].join("\n"));
    if (skipped > 0 && process.env["CI"] === "true") {
      console.error("a skipped test fails the run in CI: see the reasons above");
      process.exitCode = 1;
    }
    const line = `${passed} passed, ${failed + unhandled.length} failed, ${skipped} skipped`;
    process.on("exit", () => console.log(line));
  }
}
