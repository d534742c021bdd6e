/** Cleaning up when this process ends: by itself, by Ctrl-C, or by SIGTERM. */

type Cleanup = () => void | Promise<void>;

const cleanups = new Set<Cleanup>();
const lastResorts = new Set<() => void>();
let installed = false;
let ending = false;

/**
 * Runs `cleanup` when SIGINT, SIGTERM or SIGHUP asks this process to end, newest first, before it exits
 * with the signal's usual code. A second signal exits at once. Returns a function that takes it back.
 */
export function onExit(cleanup: Cleanup): () => void {
  install();
  cleanups.add(cleanup);
  return () => void cleanups.delete(cleanup);
}

/**
 * Runs `cleanup` while the process is already exiting, however it came to that (SIGKILL excepted), so it
 * must be synchronous and quick: kill a child, remove a folder. Returns a function that takes it back.
 */
export function atLast(cleanup: () => void): () => void {
  install();
  lastResorts.add(cleanup);
  return () => void lastResorts.delete(cleanup);
}

function install(): void {
  if (installed) return;
  installed = true;
  process.on("exit", runLastResorts);
  for (const [signal, code] of [
    ["SIGINT", 130],
    ["SIGTERM", 143],
    ["SIGHUP", 129],
  ] as const) {
    process.on(signal, () => {
      // Nothing of ours is running: behave as if this handler were not there.
      if (ending || cleanups.size + lastResorts.size === 0) process.exit(code);
      ending = true;
      void runCleanups().finally(() => process.exit(code));
    });
  }
}

async function runCleanups(): Promise<void> {
  for (const cleanup of [...cleanups].reverse()) {
    try {
      await cleanup();
    } catch (error) {
      process.stderr.write(`cleanup failed: ${error instanceof Error ? error.message : error}\n`);
    }
  }
}

function runLastResorts(): void {
  for (const cleanup of [...lastResorts].reverse()) {
    try {
      cleanup();
    } catch {
      // The others must have their turn, and there is nobody left to tell.
    }
  }
}
