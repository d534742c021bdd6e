/** Temporary folders that carry their owner's pid in their name, so that leftovers can be told apart. */
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { atLast } from "./on-exit.ts";
import { isAlive } from "./child-process.ts";

const shape = /^chom-[a-z-]+-(\d+)-\w+$/;

export type ScratchFolder = { path: string; remove: () => void };

/** Makes `<tmp>/chom-<purpose>-<pid>-xxxxxx` (mode 0700); removed by `remove()` or when this process exits. */
export function scratchFolder(purpose: string): ScratchFolder {
  sweepScratchFolders();
  const path = mkdtempSync(join(tmpdir(), `chom-${purpose}-${process.pid}-`));
  const forget = atLast(() => rmSync(path, { recursive: true, force: true }));
  return {
    path,
    remove: () => {
      forget();
      rmSync(path, { recursive: true, force: true, maxRetries: 3 });
    },
  };
}

let swept = false;

/** Removes the folders of owners that were killed before they could do it. Once per process. */
function sweepScratchFolders(): void {
  if (swept) return;
  swept = true;
  for (const name of readdirSync(tmpdir())) {
    const pid = Number(shape.exec(name)?.[1] ?? 0);
    if (pid === 0 || isAlive(pid)) continue;
    try {
      rmSync(join(tmpdir(), name), { recursive: true, force: true });
    } catch {
      // Somebody else's, or still in use: not worth failing a start for.
    }
  }
}
