/** What is expensive to make and the same for every run: kept in the user's cache folder, made once. */
import { existsSync, mkdirSync, renameSync, rmSync } from "node:fs";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:net";
import { homedir } from "node:os";
import { join } from "node:path";
import type { Progress } from "./progress.ts";

const lookAgainMs = 250;

/** `$CHOM_CACHE_DIR`, else `$XDG_CACHE_HOME/chom`, else `~/.cache/chom`. Safe to delete while nothing runs. */
export function cacheFolder(
  env: Readonly<Record<string, string | undefined>> = process.env,
): string {
  if (env["CHOM_CACHE_DIR"]) return env["CHOM_CACHE_DIR"];
  return join(env["XDG_CACHE_HOME"] || join(env["HOME"] || homedir(), ".cache"), "chom");
}

/** Half of a start of Node is reading the same sources: what it made of them is kept for the next one. */
export const compileCache = (): Record<"NODE_COMPILE_CACHE", string> => ({
  NODE_COMPILE_CACHE: join(cacheFolder(), "compile"),
});

/**
 * The folder `<cache>/<name>`, made by `build` when it is not there. `build` fills an empty folder beside it
 * that is renamed into place at the end, so a killed build leaves nothing that looks finished. Of several
 * processes one builds; the others say so and wait.
 */
export async function ensureCached(
  name: string,
  build: (folder: string) => Promise<void>,
  progress: Progress,
): Promise<string> {
  const path = join(cacheFolder(), name);
  if (existsSync(path)) return path;
  const release = await lock(path, () =>
    progress(`waiting for another process that makes ${name}`),
  );
  try {
    if (existsSync(path)) return path;
    const partial = `${path}.partial`;
    rmSync(partial, { recursive: true, force: true });
    mkdirSync(partial, { recursive: true });
    try {
      await build(partial);
      renameSync(partial, path);
    } finally {
      rmSync(partial, { recursive: true, force: true });
    }
    return path;
  } finally {
    release();
  }
}

/**
 * Holds a lock of this machine that the kernel drops when the process dies, so there is no such thing as a
 * stale one: an abstract Unix socket. Where those do not exist the atomic rename alone must do.
 */
async function lock(path: string, onWait: () => void): Promise<() => void> {
  if (process.platform !== "linux") return () => {};
  const address = `\0chom-cache-${createHash("sha256").update(path).digest("hex").slice(0, 40)}`;
  for (let round = 0; ; round += 1) {
    const server = createServer().listen(address);
    try {
      await once(server, "listening");
      server.unref();
      return () => server.close();
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EADDRINUSE") throw error;
      if (round === 0) onWait();
      await new Promise((done) => setTimeout(done, lookAgainMs));
    }
  }
}
