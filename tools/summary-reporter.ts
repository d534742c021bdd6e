/** Prints `N passed, N failed, N skipped` as the very last line of a test run, and each skipped test with its reason. */
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

export default class SummaryReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly unknown[]): void {
    const { passed, failed, skipped } = count(modules);
    if (skipped > 0 && process.env["CI"] === "true") {
      console.error("a skipped test fails the run in CI: see the reasons above");
      process.exitCode = 1;
    }
    const line = `${passed} passed, ${failed + unhandled.length} failed, ${skipped} skipped`;
    process.on("exit", () => console.log(line));
  }
}
