/** MariaDB and MySQL by their own programs. The password travels in an option file that only we read. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type Failure, failureOf } from "@chom/shared/failure/failure";
import { inspectDump } from "../dump-inspect.ts";
import type { Place } from "./database-sources.ts";
import type { Counted, DatabaseTools, Use } from "./database-tools.ts";
import { askTool, feedTool, findTool, readTool, type Tool } from "./run-tool.ts";

const remedy = "install the client programs of MariaDB or MySQL (Debian: mariadb-client)";
const dumpers = ["mariadb-dump", "mysqldump"];
const clients = ["mariadb", "mysql"];

/** The server's error numbers, as the programs print them. */
const meanings: Readonly<Record<string, string>> = {
  1007: "name-taken",
  1021: "disk-full",
  1034: "db-corrupt",
  1040: "db-too-many-connections",
  1044: "db-auth",
  1045: "db-auth",
  1049: "db-missing",
  1205: "db-locked",
  1213: "db-deadlock",
  1227: "db-auth",
  2002: "db-gone-away",
  2003: "db-gone-away",
  2006: "db-gone-away",
  2013: "db-gone-away",
};

function explain(said: string, code: number | null): Failure {
  const numbers = [...said.matchAll(/(?:ERROR |error: |\()(\d{4})\b/g)].map(([, number]) => number);
  const found = numbers.map((number) => meanings[number ?? ""]).find((each) => each !== undefined);
  const last = said.split("\n").slice(-3).join(" ").slice(0, 400);
  return failureOf(
    found ?? "dump-incomplete",
    `the database's program ended with ${code}: ${last}`,
  );
}

const quoted = (name: string): string => `\`${name.replaceAll("`", "``")}\``;
const option = (value: string): string =>
  `"${value.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`;

async function toolFor(
  place: Place,
  { folder, toolFolders, signal }: Use,
  names: readonly string[],
  args: readonly string[],
): Promise<Tool> {
  const { socket, sslrootcert } = place.options;
  const lines = [
    "[client]",
    `user=${option(place.user)}`,
    `password=${option(place.password.reveal())}`,
    ...(socket
      ? [`socket=${option(socket)}`]
      : [`host=${option(place.host)}`, `port=${place.port}`, "protocol=tcp"]),
    ...(sslrootcert ? [`ssl-ca=${option(sslrootcert)}`] : []),
    "default-character-set=utf8mb4",
  ];
  const file = join(folder, "my.cnf");
  await writeFile(file, `${lines.join("\n")}\n`, { mode: 0o600 });
  const program = findTool(toolFolders, names, remedy);
  return { program, args: [`--defaults-file=${file}`, ...args], signal, explain };
}

async function ask(place: Place, use: Use, sql: string): Promise<string> {
  const args = ["--batch", "--skip-column-names", `--execute=${sql}`];
  return (await askTool(await toolFor(place, use, clients, args))).trim();
}

const text = (value: string): string => `x'${Buffer.from(value).toString("hex")}'`;

export const mysqlTools: DatabaseTools = {
  engine: "mysql",
  fileName: "dump.sql",
  async dump(place, use) {
    const flags = ["--single-transaction", "--quick", "--routines", "--triggers", "--events"];
    const more = ["--hex-blob", "--no-tablespaces", "--", place.database];
    const tool = await toolFor(place, use, dumpers, [...flags, ...more]);
    const version = await askTool({ ...tool, args: ["--version"] });
    const size = `select coalesce(sum(data_length), 0) from information_schema.tables where table_schema = ${text(place.database)}`;
    const estimatedBytes = Number(await ask(place, use, size).catch(() => 0));
    const { stream: watching, census } = inspectDump();
    const counted = (): Counted => {
      const { tables, isComplete } = census();
      if (!isComplete) throw failureOf("dump-incomplete", "the dump ends without its last line");
      return { tables: tables.length, rows: tables.reduce((sum, { rows }) => sum + rows, 0) };
    };
    return { stream: readTool(tool), watching, counted, tool: version.trim(), estimatedBytes };
  },
  canRestore({ toolFolders }) {
    try {
      return findTool(toolFolders, clients, remedy) !== "";
    } catch {
      return false;
    }
  },
  async create(place, name, use) {
    await ask(place, use, `create database ${quoted(name)} character set utf8mb4`);
  },
  async restore(place, name, content, use) {
    await feedTool(await toolFor(place, use, clients, ["--", name]), content);
  },
  async count(place, name, use) {
    const names = `select hex(table_name) from information_schema.tables where table_schema = ${text(name)} and table_type = 'BASE TABLE'`;
    const tables = (await ask(place, use, names)).split("\n").filter((line) => line !== "");
    let rows = 0;
    for (const hex of tables) {
      const table = `${quoted(name)}.${quoted(Buffer.from(hex, "hex").toString())}`;
      rows += Number(await ask(place, use, `select count(*) from ${table}`));
    }
    return { tables: tables.length, rows };
  },
  async drop(place, name, use) {
    await ask(place, use, `drop database if exists ${quoted(name)}`);
  },
};
