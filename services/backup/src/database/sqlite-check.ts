/** Runs in a thread of its own, because SQLite's checks block: is the file whole, and what does it hold? */
import { DatabaseSync } from "node:sqlite";
import { parentPort, workerData } from "node:worker_threads";

const quoted = (name: string): string => `"${name.replaceAll('"', '""')}"`;

function check(path: string) {
  const db = new DatabaseSync(path, { readOnly: true });
  try {
    const verdict = db.prepare("pragma integrity_check(1)").get() as { integrity_check: string };
    const found = db
      .prepare(
        "select name, sql from sqlite_master where type = 'table' and name not like 'sqlite_%'",
      )
      .all() as { name: string; sql: string }[];
    const tables = found.filter(({ sql }) => !/^create\s+virtual/i.test(sql));
    const rows = tables.map(({ name }) => {
      const { n } = db.prepare(`select count(*) as n from ${quoted(name)}`).get() as { n: number };
      return n;
    });
    const { integrity_check: problem } = verdict;
    return { problem, tables: tables.length, rows: rows.reduce((sum, n) => sum + n, 0) };
  } finally {
    db.close();
  }
}

try {
  parentPort?.postMessage(check(String(workerData)));
} catch (error) {
  parentPort?.postMessage({ problem: (error as Error).message, tables: 0, rows: 0 });
}
