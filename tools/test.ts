/** `pnpm test`: fetches and builds what the tests need, then runs them all. Arguments go to vitest. */
import { spawnSync } from "node:child_process";
import { resolveNatsServer } from "../packages/stack/src/nats-binary.ts";
import { resolvePebble } from "../packages/stack/src/pebble-binary.ts";
import { toStderr } from "../packages/stack/src/progress.ts";
import { ensureVpsBase, vpsSupport } from "../packages/stack/src/vps.ts";

// Prepared before the first test, so that a first run shows what it waits for and no test times out over it.
await resolveNatsServer(toStderr);
await resolvePebble(toStderr);
const support = await vpsSupport();
if (support.ok) await ensureVpsBase(toStderr);
else toStderr(`tests on a real server will be skipped: ${support.reason}`);

const { status } = spawnSync(
  process.execPath,
  [
    "node_modules/vitest/vitest.mjs",
    "run",
    "--reporter=default",
    "--reporter=./tools/summary-reporter.ts",
    ...process.argv.slice(2),
  ],
  { stdio: "inherit" },
);
process.exit(status ?? 1);
