/**
 * Writes the list of what a runner on a server lets run: every script of every family. `--check` only compares.
 * What installs the runner is not in it: nobody may change the list through the runner.
 */
import { globSync, readFileSync, writeFileSync } from "node:fs";
import { runnerList } from "../packages/shared/src/script/program.ts";

const file = "packages/shared/src/script/runner-scripts.sha256";
const scripts = globSync("services/*/src/scripts/*.sh")
  .filter((path) => !path.endsWith("/install-runner.sh"))
  .toSorted();
const list = runnerList(scripts.map((path) => readFileSync(path, "utf8")));
if (!process.argv.includes("--check")) writeFileSync(file, list);
else if (readFileSync(file, "utf8") !== list) {
  console.error(`${file} is stale: node tools/runner-list.ts`);
  process.exitCode = 1;
}
console.log(`${scripts.length} scripts may be run by a runner`);
