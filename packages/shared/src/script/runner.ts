/** The runner's files, for a server whose keys may start nothing else (`services/credentials`, CHOM_SSH_RUNNER). */
import { readFileSync } from "node:fs";

const part = (name: string): string => readFileSync(new URL(name, import.meta.url), "utf8");

/** The text of the runner and its list of this release's scripts, of which `node tools/runner-list.ts` is the source. */
export const runnerFiles = (): { readonly runner: string; readonly list: string } => ({
  runner: part("./runner.sh"),
  list: part("./runner-scripts.sha256"),
});
