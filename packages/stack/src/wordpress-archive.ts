/** A real WordPress as an archive for tests, made from Debian's package: wordpress.org itself need not be reachable. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { failureOf } from "@chom/shared/failure/failure";
import { ensureCached } from "./cache.ts";
import { unpackDebianPackages } from "./debian-package.ts";
import type { Progress } from "./progress.ts";
import { runCommand } from "./run-command.ts";

const suite = "bookworm";
const packages = ["wordpress", "wordpress-theme-twentytwentythree"];

export type ApplicationFile = { path: string; sha256: string };

/** Answers a tar.gz with a folder `wordpress`; about 15 MB, kept in the cache. Fails with `tool-missing`. */
export async function ensureWordpressArchive(progress: Progress): Promise<ApplicationFile> {
  const folder = await ensureCached(
    `wordpress-${suite}-1`,
    (into) => buildArchive(into, progress),
    progress,
  );
  const path = join(folder, "wordpress.tar.gz");
  return { path, sha256: createHash("sha256").update(readFileSync(path)).digest("hex") };
}

async function buildArchive(into: string, progress: Progress): Promise<void> {
  const unpacked = join(into, "packages");
  await unpackDebianPackages(packages, suite, unpacked, progress);
  // Debian links to its own configuration and to libraries of other packages: the site gets files only.
  const script = `cd "$1/usr/share/wordpress"
    rm -f wp-config.php .htaccess
    find . -xtype l -delete
    cd .. && tar --dereference -czf "$2/wordpress.tar.gz" wordpress
    rm -rf "$1"`;
  const made = await runCommand("sh", ["-euc", script, "sh", unpacked, into], {
    timeoutMs: 120_000,
  });
  if (made.code !== 0)
    throw failureOf("tool-missing", `no WordPress archive: ${made.stderr.trim()}`);
}
