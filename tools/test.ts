/** `pnpm test`: fetches and builds what the tests need, then runs them all. Arguments go to vitest. */
import { spawnSync } from "node:child_process";
import { ensureHostProgram } from "../packages/stack/src/apt.ts";
import { compileCache } from "../packages/stack/src/cache.ts";
import { resolveNatsServer } from "../packages/stack/src/nats-binary.ts";
import { resolvePebble } from "../packages/stack/src/pebble-binary.ts";
import { toStderr } from "../packages/stack/src/progress.ts";
import { ensureWordpressArchive } from "../packages/stack/src/wordpress-archive.ts";
import { ensureVpsBase, vpsSupport } from "../packages/stack/src/vps.ts";

// Prepared before the first test, so that a first run shows what it waits for and no test times out over it.
await resolveNatsServer(toStderr);
await resolvePebble(toStderr);
const support = await vpsSupport();
const wordpress: Record<string, string> = {};
if (support.ok) {
  await ensureVpsBase(toStderr);
  // The dashboard's tests look at it in a real browser.
  await ensureHostProgram("chromium", "chromium", toStderr);
  const { path, sha256 } = await ensureWordpressArchive(toStderr);
  // Not by the names of settings: services that tests start would inherit them, and most refuse what is not theirs.
  Object.assign(wordpress, {
    TEST_WORDPRESS_ARCHIVE: path,
    TEST_WORDPRESS_ARCHIVE_SHA256: sha256,
  });
} else toStderr(`tests on a real server will be skipped: ${support.reason}`);

const { status } = spawnSync(
  process.execPath,
  [
    "node_modules/vitest/vitest.mjs",
    "run",
    "--reporter=default",
    "--reporter=./tools/summary-reporter.ts",
    ...process.argv.slice(2),
  ],
  { stdio: "inherit", env: { ...process.env, ...compileCache(), ...wordpress } },
);
process.exit(status ?? 1);
