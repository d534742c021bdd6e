/** A real MariaDB on loopback, thrown away at the end. */
import { randomBytes } from "node:crypto";
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { failureOf } from "@chom/shared/failure/failure";
import { startChild, waitUntilReady } from "./child-process.ts";
import { mariadbPrograms } from "./database-clients.ts";
import { ensureDebianPrograms } from "./debian-programs.ts";
import { freePort } from "./free-port.ts";
import { onExit } from "./on-exit.ts";
import { type Progress, silent } from "./progress.ts";
import { runCommand } from "./run-command.ts";
import { scratchFolder } from "./scratch-folder.ts";

export type Mariadb = {
  /** An administrator's URL without a database: add its name. The password needs every kind of quoting. */
  url: string;
  /** Folder with `mariadb` and `mariadb-dump`. */
  tools: string;
  /** Runs SQL as the administrator and answers rows, tabs between columns. */
  sql: (text: string, database?: string) => Promise<string>;
  stop: () => Promise<void>;
};

const tables = [
  "mysql_system_tables.sql",
  "mysql_performance_tables.sql",
  "mysql_system_tables_data.sql",
  "maria_add_gis_sp_bootstrap.sql",
];

/** Makes it and starts it, about two seconds. Fails with `tool-missing`, `service-down`. */
export async function startMariadb({
  progress = silent,
}: {
  progress?: Progress;
} = {}): Promise<Mariadb> {
  const folder = await ensureDebianPrograms(mariadbPrograms(), progress);
  const root = join(folder, "root");
  const tools = join(folder, "bin");
  const server = join(tools, "mariadbd");
  const scratch = scratchFolder("mariadb");
  const data = join(scratch.path, "data");
  const socket = join(scratch.path, "socket");
  const port = await freePort();
  mkdirSync(join(data, "mysql"), { recursive: true });
  const basics = [
    "--no-defaults",
    `--basedir=${root}/usr`,
    `--datadir=${data}`,
    `--lc-messages-dir=${root}/usr/share/mysql`,
    `--plugin-dir=${root}/usr/lib/mysql/plugin`,
    "--innodb-buffer-pool-size=32M",
    "--innodb-use-native-aio=0",
    ...(process.getuid?.() === 0 ? ["--user=root"] : []),
  ];
  const share = join(root, "usr/share/mysql");
  const input = ["use mysql;", "set @auth_root_socket=null;"]
    .concat(tables.map((name) => readFileSync(join(share, name), "utf8")))
    .join("\n");
  const made = await runCommand(server, [...basics, "--bootstrap"], { input });
  if (made.code !== 0) throw failureOf("service-down", `MariaDB: ${made.stderr.slice(-800)}`);
  const listening = [`--socket=${socket}`, `--port=${port}`, "--bind-address=127.0.0.1"];
  const child = startChild(server, [...basics, ...listening]);
  const stop = async () => {
    takeBack();
    await child.stop();
    scratch.remove();
  };
  const takeBack = onExit(stop);
  const client = ["--no-defaults", `--socket=${socket}`, "--user=root", "--batch"];
  const sql = async (text: string, database = "mysql"): Promise<string> => {
    const args = [...client, "--skip-column-names", database];
    const { code, stdout, stderr } = await runCommand(join(tools, "mariadb"), args, {
      input: text,
    });
    if (code !== 0) throw failureOf("service-down", `MariaDB: ${stderr.trim()}`);
    return stdout.trim();
  };
  const answers = () => sql("select 1").then(Boolean, () => false);
  const password = `a"b\\c'd#e ${randomBytes(8).toString("hex")}`;
  try {
    await waitUntilReady("MariaDB", child, answers, 30_000);
    const quoted = password.replaceAll("\\", "\\\\").replaceAll("'", "\\'");
    await sql(`create user admin@'%' identified by '${quoted}';
      grant all privileges on *.* to admin@'%' with grant option;`);
  } catch (error) {
    await stop();
    throw error;
  }
  const url = `mysql://admin:${encodeURIComponent(password)}@127.0.0.1:${port}/`;
  return { url, tools, sql, stop };
}
