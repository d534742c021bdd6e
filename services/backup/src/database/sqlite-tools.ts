/** SQLite without any program: its own online backup makes a consistent copy while others write. */
import { createReadStream, createWriteStream } from "node:fs";
import { link, stat, unlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { PassThrough } from "node:stream";
import { pipeline } from "node:stream/promises";
import { backup, DatabaseSync } from "node:sqlite";
import { Worker } from "node:worker_threads";
import { failureOf } from "@chom/shared/failure/failure";
import type { Place } from "./database-sources.ts";
import type { Counted, DatabaseTools } from "./database-tools.ts";

/** Pages a step; in between others may write. */
const pagesAtOnce = 500;

const beside = (place: Place, name: string): string => join(dirname(place.database), name);

function ignoreMissing(error: unknown): undefined {
  if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  return undefined;
}

/** What a file holds. Throws `db-corrupt` unless SQLite finds it whole. */
async function look(path: string, signal: AbortSignal): Promise<Counted> {
  const worker = new Worker(new URL("./sqlite-check.ts", import.meta.url), { workerData: path });
  const stop = () => void worker.terminate();
  signal.addEventListener("abort", stop, { once: true });
  try {
    const answer = await new Promise<Counted & { problem: string }>((resolve, reject) => {
      worker.once("message", resolve);
      worker.once("error", reject);
      worker.once("exit", () => reject(signal.reason ?? new Error("the check ended early")));
    });
    if (answer.problem !== "ok") {
      throw failureOf(
        "db-corrupt",
        `SQLite finds the file damaged: ${answer.problem.slice(0, 200)}`,
      );
    }
    return { tables: answer.tables, rows: answer.rows };
  } finally {
    signal.removeEventListener("abort", stop);
    await worker.terminate();
  }
}

async function copyOf(path: string, copy: string): Promise<void> {
  if (!(await stat(path).catch(ignoreMissing))) {
    throw failureOf("db-missing", `there is no database file ${path}`);
  }
  await unlink(copy).catch(ignoreMissing);
  const db = new DatabaseSync(path, { readOnly: true, timeout: 30_000 });
  try {
    await backup(db, copy, { rate: pagesAtOnce });
  } catch (cause) {
    const message = (cause as Error).message;
    const code = /locked|busy/i.test(message) ? "db-locked" : "db-corrupt";
    throw failureOf(/full/i.test(message) ? "disk-full" : code, `SQLite: ${message}`, { cause });
  } finally {
    db.close();
  }
}

export const sqliteTools: DatabaseTools = {
  engine: "sqlite",
  fileName: "database.sqlite",
  async dump({ database }, { folder, signal }) {
    const copy = join(folder, "copy.sqlite");
    await copyOf(database, copy);
    const counted = await look(copy, signal);
    const { size: estimatedBytes } = await stat(copy);
    const tool = `SQLite ${process.versions.sqlite}`;
    const stream = createReadStream(copy);
    return { stream, watching: new PassThrough(), counted: () => counted, tool, estimatedBytes };
  },
  canRestore: () => true,
  async create(place, name) {
    try {
      await writeFile(beside(place, name), "", { flag: "wx", mode: 0o600 });
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== "EEXIST") throw cause;
      throw failureOf("name-taken", `there is a file ${name} already`, { cause });
    }
  },
  async restore(place, name, content, { signal }) {
    const partial = beside(place, `${name}.partial`);
    try {
      const sink = createWriteStream(partial, { mode: 0o600, flush: true });
      await pipeline(content, sink, { signal });
      await unlink(beside(place, name)).catch(ignoreMissing);
      await link(partial, beside(place, name));
    } finally {
      await unlink(partial).catch(ignoreMissing);
    }
  },
  count: (place, name, { signal }) => look(beside(place, name), signal),
  async drop(place, name) {
    for (const end of ["", "-wal", "-shm", "-journal", ".partial"]) {
      await unlink(beside(place, `${name}${end}`)).catch(ignoreMissing);
    }
  },
};
