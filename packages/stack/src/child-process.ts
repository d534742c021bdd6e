/** Child processes that never outlive us: own process group, the end of their log kept, killed with this process. */
import { type ChildProcess, spawn } from "node:child_process";
import { accessSync, appendFileSync, constants, readFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { failureOf } from "@chom/shared/failure/failure";
import { atLast } from "./on-exit.ts";

const logTailChars = 16_384;

export type ChildOptions = {
  cwd?: string;
  /** On top of this process's environment; undefined takes a variable away. */
  env?: Record<string, string | undefined>;
  uid?: number;
  gid?: number;
  /** Everything it writes is appended to this file too; default none. */
  logFile?: string;
};

export type Child = {
  pid: number;
  /** The end of what it wrote to standard output and error, at most 16 Ki characters. */
  log: () => string;
  isRunning: () => boolean;
  /** Settles when the process has ended; never rejects. */
  ended: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
  /** Asks with `signal` (SIGTERM), kills the whole group after `graceMs` (5 s). Idempotent. */
  stop: (options?: { signal?: NodeJS.Signals; graceMs?: number }) => Promise<void>;
  /** Kills the whole group at once (SIGKILL) and waits for the end. */
  kill: () => Promise<void>;
};

/** True when a process with this pid runs, whoever owns it; one that is dead but not yet reaped does not. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
  try {
    // The state follows the program's name, which may itself hold any character.
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return stat[stat.lastIndexOf(")") + 2] !== "Z";
  } catch {
    return true; // No /proc on this system.
  }
}

/** The path of a program in PATH or the system folders (which a user's PATH often lacks), or null. */
export function findProgram(name: string): string | null {
  const folders = [...(process.env["PATH"] ?? "").split(delimiter), "/usr/sbin", "/sbin"];
  for (const folder of folders.filter((f) => f !== "")) {
    try {
      accessSync(join(folder, name), constants.X_OK);
      return join(folder, name);
    } catch {
      // Not here: look on.
    }
  }
  return null;
}

/**
 * Starts a program in its own process group, with nothing to read. On Linux the kernel kills it when this
 * process dies in any way; elsewhere only when this process gets to exit handlers.
 */
export function startChild(
  command: string,
  args: readonly string[],
  options: ChildOptions = {},
): Child {
  const [program, argv] = dyingWithUs(command, args);
  const child = spawn(program, argv, {
    ...options,
    env: { ...process.env, ...options.env },
    detached: true,
    stdio: ["ignore", "pipe", "pipe"],
  });
  const log = keepTail(child, options.logFile);
  const ended = new Promise<{ code: number | null; signal: NodeJS.Signals | null }>((done) => {
    child.once("exit", (code, signal) => done({ code, signal }));
    child.once("error", (error) => {
      log.add(error.message);
      done({ code: null, signal: null });
    });
  });
  const pid = child.pid;
  if (pid === undefined) {
    throw failureOf("tool-missing", `cannot start ${command}: is it there, and may it be run?`);
  }
  const isRunning = () => child.exitCode === null && child.signalCode === null;
  const forget = atLast(() => signalGroup(pid, "SIGKILL"));
  void ended.then(forget);
  const kill = async () => {
    if (isRunning()) signalGroup(pid, "SIGKILL");
    await ended;
  };
  const stop: Child["stop"] = async ({ signal = "SIGTERM", graceMs = 5_000 } = {}) => {
    if (isRunning()) signalGroup(pid, signal);
    const timer = setTimeout(() => signalGroup(pid, "SIGKILL"), graceMs);
    await ended;
    clearTimeout(timer);
  };
  return { pid, log: log.read, isRunning, ended, stop, kill };
}

/** We may die before the kernel was asked to watch us: then the program is not started at all. */
const unlessOrphaned = '[ "$PPID" = "$0" ] || exit 1; exec "$@"';

function dyingWithUs(command: string, args: readonly string[]): [string, string[]] {
  const setpriv = process.platform === "linux" ? findProgram("setpriv") : null;
  const watch = ["--pdeathsig", "KILL", "--"];
  return setpriv
    ? [setpriv, [...watch, "sh", "-c", unlessOrphaned, String(process.pid), command, ...args]]
    : [command, [...args]];
}

function signalGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal);
  } catch {
    // Gone already.
  }
}

function keepTail(
  child: ChildProcess,
  logFile: string | undefined,
): { read: () => string; add: (text: string) => void } {
  let tail = "";
  const add = (text: string) => {
    tail = (tail + text).slice(-logTailChars);
    if (logFile) appendFileSync(logFile, text, { mode: 0o600 });
  };
  child.stdout?.setEncoding("utf8").on("data", add);
  child.stderr?.setEncoding("utf8").on("data", add);
  return { read: () => tail, add };
}

/** Polls `ready` every 10 ms until it is true; fails with the end of the log when the child ends or `timeoutMs` pass. */
export async function waitUntilReady(
  what: string,
  child: Child,
  ready: () => boolean | Promise<boolean>,
  timeoutMs = 20_000,
): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  // A question that is never answered, as on a connection that was cut, is a no.
  const asked = async () => {
    const late = new AbortController();
    const silence = sleep(Math.max(0, deadline - Date.now()), false, { signal: late.signal });
    const answer = await Promise.race([ready(), silence.catch(() => false)]);
    late.abort();
    return answer;
  };
  while (!(await asked())) {
    if (!child.isRunning() || Date.now() > deadline) {
      const why = child.isRunning()
        ? `was not ready within ${timeoutMs} ms`
        : "ended while starting";
      throw failureOf("service-down", `${what} ${why}: ${child.log().trim().slice(-800)}`);
    }
    await new Promise((done) => setTimeout(done, 10));
  }
}
