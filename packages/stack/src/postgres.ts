/** A real PostgreSQL on loopback, thrown away at the end. */
import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { failureOf } from "@chom/shared/failure/failure";
import postgresClient from "postgres";
import { type Child, isAlive, startChild, waitUntilReady } from "./child-process.ts";
import { freePort } from "./free-port.ts";
import { onExit } from "./on-exit.ts";
import { type Disguise, disguise, postgresPrograms } from "./postgres-process.ts";
import { createDatabase, createServiceRoles, type ServiceUrls } from "./postgres-roles.ts";
import { type Progress, silent } from "./progress.ts";
import { runCommand } from "./run-command.ts";
import { scratchFolder } from "./scratch-folder.ts";

export type PostgresOptions = {
  /** Survive a crash of the process with what was committed; default false, which is faster. */
  fsync?: boolean;
  progress?: Progress;
};

export type Postgres = {
  /** The superuser's URL, password included, database `postgres`. */
  url: string;
  port: number;
  /** The pid of the running postmaster; changes with `restart`. */
  readonly pid: number;
  /** Makes an empty database nobody but the superuser may use yet, and gives the superuser's URL to it. */
  createDatabase: (name: string) => Promise<string>;
  /** See `postgres-roles.ts`; gives the roles' URLs to that database (default `postgres`). */
  createServiceRoles: (name: string, password: string, database?: string) => Promise<ServiceUrls>;
  /** The end of its log. */
  log: () => string;
  /** Stops it and removes its folder. Idempotent. */
  stop: () => Promise<void>;
  /** SIGKILL, as a crash would. */
  kill: () => Promise<void>;
  /** Starts it again on the same port and data, after stopping it in order if it still runs. */
  restart: () => Promise<void>;
};

/** Makes a cluster (about 0.5 s) and starts it; logins by SCRAM password only. Fails with `service-down`. */
export async function startPostgres({
  fsync = false,
  progress = silent,
}: PostgresOptions = {}): Promise<Postgres> {
  progress("starting PostgreSQL");
  const programs = await postgresPrograms();
  const as = await disguise();
  const scratch = scratchFolder("postgres");
  as.own(scratch.path);
  const data = join(scratch.path, "data");
  const password = randomBytes(18).toString("base64url");
  const port = await freePort();
  const url = `postgres://postgres:${password}@127.0.0.1:${port}/postgres`;
  let child: Child | undefined;
  // Under unshare the postmaster is a child of our child, so that signals must go to its own pid.
  const end = (signal: NodeJS.Signals) => endPostmaster(child, data, signal);
  const stop = async () => {
    takeBack();
    await end("SIGINT");
    scratch.remove();
  };
  const takeBack = onExit(stop);
  const restart = async () => {
    await end("SIGINT");
    child = start(programs.postgres, { as, data, port, fsync });
    await waitUntilReady("PostgreSQL", child, () => answers(url), 30_000);
  };
  try {
    await makeCluster(programs.initdb, { as, folder: scratch.path, data, password });
    await restart();
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    url,
    port,
    get pid() {
      return postmasterPid(data) ?? 0;
    },
    createDatabase: (name) => createDatabase(url, name),
    createServiceRoles: (name, pass, database = "postgres") =>
      createServiceRoles(url, { name, password: pass, database }),
    log: () => child?.log() ?? "",
    stop,
    kill: () => end("SIGKILL"),
    restart,
  };
}

type Cluster = { as: Disguise; folder: string; data: string; password: string };

async function makeCluster(initdb: string, { as, folder, data, password }: Cluster): Promise<void> {
  mkdirSync(data, { mode: 0o700 });
  as.own(data);
  const passwordFile = join(folder, "password");
  writeFileSync(passwordFile, `${password}\n`, { mode: 0o600 });
  as.own(passwordFile);
  const args = ["-D", data, "-U", "postgres", "--pwfile", passwordFile, "-A", "scram-sha-256"];
  args.push("--no-sync", "--locale=C.UTF-8", "--encoding=UTF8", "--no-instructions");
  const [program, ...argv] = [...as.command, initdb, ...args] as [string, ...string[]];
  const made = await runCommand(program, argv, { cwd: "/", ...as.ids });
  if (made.code !== 0)
    throw failureOf("service-down", `initdb failed: ${made.stderr.trim().slice(-800)}`);
}

type Start = { as: Disguise; data: string; port: number; fsync: boolean };

function start(program: string, { as, data, port, fsync }: Start): Child {
  const safety = fsync ? "on" : "off";
  const settings = {
    fsync: safety,
    full_page_writes: safety,
    synchronous_commit: safety,
    max_connections: "200",
    wal_level: "logical",
  };
  const args = ["-D", data, "-p", String(port), "-h", "127.0.0.1", "-k", ""];
  args.push(...Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`]));
  const [command, ...argv] = [...as.command, program, ...args] as [string, ...string[]];
  return startChild(command, argv, { cwd: "/", ...as.ids });
}

function postmasterPid(data: string): number | undefined {
  const file = join(data, "postmaster.pid");
  if (!existsSync(file)) return undefined;
  return Number(readFileSync(file, "utf8").split("\n")[0]) || undefined;
}

async function endPostmaster(
  child: Child | undefined,
  data: string,
  signal: NodeJS.Signals,
): Promise<void> {
  if (!child?.isRunning()) return;
  const pid = postmasterPid(data);
  if (pid && isAlive(pid)) process.kill(pid, signal);
  else await child.kill();
  const timer = setTimeout(() => void child.kill(), 10_000);
  await child.ended;
  clearTimeout(timer);
  // A killed postmaster leaves its children to notice by themselves; its group goes with it here.
  await child.kill();
}

async function answers(url: string): Promise<boolean> {
  const sql = postgresClient(url, { max: 1, connect_timeout: 2, onnotice: () => {} });
  try {
    await sql`select 1`;
    return true;
  } catch {
    return false;
  } finally {
    await sql.end({ timeout: 1 });
  }
}
