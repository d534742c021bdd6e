/** Where pebble, the ACME test server, comes from. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { classify, failureOf } from "@chom/shared/failure/failure";
import { cacheFolder, ensureCached } from "./cache.ts";
import { unpackDebianPackages } from "./debian-package.ts";
import type { Progress } from "./progress.ts";

export type PebblePrograms = { pebble: string; dns: string };

/**
 * The paths of pebble (2.10 or newer: renewal information and profiles) and its DNS server: the cache, else
 * Debian forky or sid. An older one of the machine is not used. Fails with `tool-missing`.
 */
export async function resolvePebble(progress: Progress): Promise<PebblePrograms> {
  const folder = join(cacheFolder(), "pebble-2.10");
  if (!existsSync(folder)) {
    await ensureCached("pebble-2.10", (into) => obtain(into, progress), progress);
  }
  return {
    pebble: join(folder, "usr/bin/pebble"),
    dns: join(folder, "usr/bin/pebble-challtestsrv"),
  };
}

async function obtain(folder: string, progress: Progress): Promise<void> {
  const reasons: string[] = [];
  for (const suite of ["forky", "sid"]) {
    try {
      await unpackDebianPackages(["pebble"], suite, folder, progress);
      return;
    } catch (error) {
      reasons.push(classify(error).message);
    }
  }
  throw failureOf("tool-missing", `no pebble of at least 2.10 (${reasons.join("; ")})`);
}
