/** What an overlay renders to: kustomize itself does it, so that checks see what a cluster would get. */
import { chmodSync, copyFileSync, existsSync } from "node:fs";
import { join } from "node:path";
import { failureOf } from "@chom/shared/failure/failure";
import { cacheFolder, ensureCached } from "@chom/stack/cache";
import { findProgram } from "@chom/stack/child-process";
import { unpackDebianPackages } from "@chom/stack/debian-package";
import type { Progress } from "@chom/stack/progress";
import { runCommand } from "@chom/stack/run-command";
import { scratchFolder } from "@chom/stack/scratch-folder";
import { parseAllDocuments } from "yaml";
import type { Manifest } from "./manifest.ts";

const name = "kustomize-5";

/** The path of a kustomize of version 5: PATH, the cache, Debian forky. Fails with `tool-missing`. */
export async function resolveKustomize(progress: Progress): Promise<string> {
  const installed = findProgram("kustomize");
  if (installed) return installed;
  const cached = join(cacheFolder(), name, "kustomize");
  if (existsSync(cached)) return cached;
  await ensureCached(
    name,
    async (folder) => {
      const scratch = scratchFolder("kustomize");
      try {
        await unpackDebianPackages(["kustomize"], "forky", scratch.path, progress);
        copyFileSync(join(scratch.path, "usr/bin/kustomize"), join(folder, "kustomize"));
        chmodSync(join(folder, "kustomize"), 0o755);
      } finally {
        scratch.remove();
      }
    },
    progress,
  );
  return cached;
}

/** Renders the kustomization in `folder`. Fails with `bad-settings` and kustomize's own words. */
export async function render(kustomize: string, folder: string): Promise<Manifest[]> {
  const built = await runCommand(kustomize, ["build", folder]);
  if (built.code !== 0) {
    throw failureOf("bad-settings", `kustomize build ${folder}: ${built.stderr.trim()}`);
  }
  return parseAllDocuments(built.stdout).map((document) => document.toJS() as Manifest);
}
