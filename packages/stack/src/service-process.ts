/** One service of CHOM as a process of its own, as in production. */
import { connect } from "node:net";
import { fileURLToPath } from "node:url";
import { compileCache } from "./cache.ts";
import { type Child, startChild, waitUntilReady } from "./child-process.ts";
import { freePort } from "./free-port.ts";

export const serviceNames = ["credentials", "provisioning", "ssl", "backup", "scheduler"] as const;
export type ServiceName = (typeof serviceNames)[number];
/** The dashboard is a client of the others: it has no part in broker and database. */
export type ProcessName = ServiceName | "dashboard";

export type ServiceProcess = {
  name: ProcessName;
  /** `localhost:<port>`; stays the same over restarts. */
  address: string;
  readonly pid: number;
  /** The end of its log. */
  log: () => string;
  logFile: string;
  /** Drains and ends it. Idempotent. */
  stop: () => Promise<void>;
  /** SIGKILL, as a crash would. */
  kill: () => Promise<void>;
  /** Starts it again, with more settings if given, after stopping it when it runs. */
  restart: (env?: Record<string, string>) => Promise<void>;
};

/** The repository, with a slash at its end. */
export const root = fileURLToPath(new URL("../../../", import.meta.url));
const startTimeoutMs = 60_000;
const drainMs = 40_000;

// Settings meant for the stack or another deployment are none of a service's, which refuses names it does not know.
const withoutOurs = Object.fromEntries(
  Object.keys(process.env)
    .filter((name) => name.startsWith("CHOM_"))
    .map((name) => [name, undefined]),
);

/** As in deploy/Dockerfile: the collector's young generation at its usual size holds 40 MB more of each process. */
const flags = ["--max-semi-space-size=8"];

/** Prepares a service; `restart` starts it and waits until it says that it serves. */
export async function prepareService(
  name: ProcessName,
  env: Record<string, string>,
  logFile: string,
): Promise<ServiceProcess> {
  const port = await freePort();
  const address = `localhost:${port}`;
  let child: Child | undefined;
  let settings: Record<string, string> = { ...env, CHOM_LISTEN: `127.0.0.1:${port}` };
  const stop = async () => child?.stop({ graceMs: drainMs });
  return {
    name,
    address,
    get pid() {
      return child?.pid ?? 0;
    },
    log: () => child?.log() ?? "",
    logFile,
    stop,
    kill: async () => child?.kill(),
    restart: async (more = {}) => {
      await stop();
      settings = { ...settings, ...more };
      const main = `${root}services/${name}/src/main.ts`;
      const started = startChild(process.execPath, [...flags, main], {
        cwd: root,
        env: { ...withoutOurs, ...compileCache(), ...settings },
        logFile,
      });
      child = started;
      const isServing = async () => started.log().includes('"serving"') && (await accepts(port));
      await waitUntilReady(`service ${name}`, started, isServing, startTimeoutMs);
    },
  };
}

function accepts(port: number): Promise<boolean> {
  return new Promise((answer) => {
    const socket = connect({ host: "127.0.0.1", port });
    socket.once("connect", () => answer(true)).once("error", () => answer(false));
    socket.once("connect", () => socket.destroy());
  });
}
