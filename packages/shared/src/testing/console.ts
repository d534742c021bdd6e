/** The console as its users have it: a process of its own, with a context for one tenant. */
import { spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { compileCache } from "@chom/stack/cache";
import type { User } from "../topology/names.ts";
import type { Ground } from "./ground.ts";

const root = fileURLToPath(new URL("../../../../", import.meta.url));
/** Longer than any test file. */
const longestMs = 900_000;
/** On a machine that may be busy with much else. */
const startMs = 90_000;

/** A program of node's to its end, or until it is told to leave. */
function startNode(file: string, args: readonly string[], env: Record<string, string>) {
  const child = spawn(process.execPath, [join(root, file), ...args], {
    env: { PATH: process.env["PATH"], HOME: "/nonexistent", ...compileCache(), ...env },
    timeout: longestMs,
    killSignal: "SIGKILL",
  });
  const written = { out: "", err: "" };
  child.stdout.setEncoding("utf8").on("data", (text: string) => (written.out += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (written.err += text));
  const ended = new Promise<number | null>((resolve) => child.on("close", resolve));
  return { child, written, ended };
}

/** A service as a process; answers its address once it serves. */
export async function startServiceProcess(
  ground: Ground,
  name: User,
  settings: Record<string, string> = {},
) {
  const environment = { ...(await ground.environment(name)), CHOM_LOG_LEVEL: "info", ...settings };
  const run = startNode(`services/${name}/src/main.ts`, [], environment);
  const { child, written } = run;
  const addressIn = () => /"address":"([^"]+)"[^\n]*"msg":"serving"/.exec(written.out)?.[1];
  const deadline = Date.now() + startMs;
  while (!addressIn() && child.exitCode === null && Date.now() < deadline) {
    await new Promise((go) => setTimeout(go, 50));
  }
  const address = addressIn();
  if (!address) {
    child.kill("SIGKILL");
    throw new Error(`${name} did not start: ${written.err}${written.out.slice(-2_000)}`);
  }
  const stop = async () => {
    run.child.kill("SIGTERM");
    await run.ended;
  };
  return { address, stop };
}

/** Writes a context for a tenant; answers its path. */
export async function contextFor(
  ground: Ground,
  tenant: string,
  urls: Readonly<Record<string, string>>,
): Promise<string> {
  const tokenFile = join(ground.folder, `${tenant}.token`);
  writeFileSync(tokenFile, await ground.issue(tenant), { mode: 0o600 });
  const file = join(ground.folder, `${tenant}.context.json`);
  writeFileSync(file, JSON.stringify({ urls, caFile: ground.caFile, tokenFile }));
  return file;
}

/** One `chom` to its end. */
export async function runConsole(context: string, args: readonly string[]) {
  const env = { CHOM_CONTEXT_FILE: context };
  const run = startNode("packages/cli/src/main.ts", args, env);
  run.child.stdin.end();
  const code = await run.ended;
  const { out, err } = run.written;
  return { code, out, err, json: () => JSON.parse(out), error: () => JSON.parse(err).error };
}
