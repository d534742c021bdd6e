/** Runs shellcheck over the scripts named as arguments; installs it first where that is allowed. */
import { spawnSync } from "node:child_process";
import { ensureHostProgram } from "../packages/stack/src/apt.ts";
import { toStderr } from "../packages/stack/src/progress.ts";

const scripts = process.argv.slice(2);
const shellcheck = await ensureHostProgram("shellcheck", "shellcheck", toStderr);
// SC2154: variables come from the prelude, which decodes the declared ones before the script begins.
const { status } = spawnSync(shellcheck, ["-s", "sh", "-e", "SC2154", "-x", ...scripts], {
  stdio: "inherit",
});
process.exit(status ?? 1);
