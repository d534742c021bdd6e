/** Programs of the database servers, as children that die with their attempt and whose secrets nobody sees. */
import { spawn } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import { PassThrough, type Readable } from "node:stream";
import { type Failure, failureOf } from "@chom/shared/failure/failure";

export type Tool = {
  /** Absolute path. */
  program: string;
  /** Seen by every process of the machine: never a secret. */
  args: readonly string[];
  /** Seen by processes of the same user: never a secret, only paths of files that hold one. */
  env?: Readonly<Record<string, string>>;
  signal: AbortSignal;
  /** What the program's last words mean. */
  explain: (said: string, code: number | null) => Failure;
};

const saidBytes = 8_192;
const answerBytes = 16 * 1024 * 1024;

/**
 * The first of these programs, in `folders`, then in PATH. Throws `tool-missing` (a person must act) with what to install.
 */
export function findTool(
  folders: readonly string[],
  names: readonly string[],
  remedy: string,
): string {
  const places = [...folders, ...(process.env["PATH"] ?? "").split(delimiter)];
  for (const name of names) {
    for (const folder of places.filter((place) => place !== "")) {
      if (isProgram(join(folder, name))) return join(folder, name);
    }
  }
  const what = names.join(" or ");
  throw failureOf(
    "tool-missing",
    `${what} is not here: ${remedy}, or name its folder in CHOM_DATABASE_TOOLS`,
  );
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function start({ program, args, env, signal, explain }: Tool) {
  signal.throwIfAborted();
  const child = spawn(program, args, {
    // Nothing of ours but this: no settings, no other secrets' paths.
    env: { PATH: process.env["PATH"] ?? "", LC_ALL: "C.UTF-8", HOME: "/nonexistent", ...env },
    cwd: "/",
    stdio: "pipe",
  });
  const kill = () => child.kill("SIGKILL");
  signal.addEventListener("abort", kill, { once: true });
  let said = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    said = (said + text).slice(-saidBytes);
  });
  // A program that ends early closes its input: its exit code says why.
  child.stdin.on("error", () => {});
  const ended = new Promise<void>((resolve, reject) => {
    child.once("error", (cause) =>
      reject(failureOf("tool-missing", `${program} cannot be run`, { cause })),
    );
    child.once("close", (code) => {
      signal.removeEventListener("abort", kill);
      if (signal.aborted) reject(signal.reason as Error);
      else if (code === 0) resolve();
      else reject(explain(said.trim(), code));
    });
  });
  ended.catch(() => {});
  return { child, ended, kill };
}

/** What the program writes. The stream ends only when the program ended well, and else fails with its reason. */
export function readTool(tool: Tool): Readable {
  const { child, ended, kill } = start(tool);
  const output = new PassThrough({ highWaterMark: 256 * 1024 });
  child.stdin.end();
  child.stdout.pipe(output, { end: false });
  output.once("close", () => {
    if (child.exitCode === null) kill();
  });
  ended.then(
    () => output.end(),
    (error: Error) => output.destroy(error),
  );
  return output;
}

/**
 * Gives the program a stream. When the stream fails the program is killed before it can take the end of its input for
 * the end of the data.
 */
export async function feedTool(tool: Tool, content: Readable): Promise<void> {
  const { child, ended, kill } = start(tool);
  child.stdout.resume();
  const over = ended.then(
    () => true,
    () => true,
  );
  try {
    for await (const data of content) {
      if (child.stdin.destroyed) break;
      if (child.stdin.write(data)) continue;
      await Promise.race([new Promise((done) => child.stdin.once("drain", done)), over]);
    }
  } catch (error) {
    kill();
    await over;
    throw error;
  }
  child.stdin.end();
  await ended;
  if (!content.readableEnded) throw tool.explain("it ended before its input did", 0);
}

/** What the program answers, at most 16 MiB. */
export async function askTool(tool: Tool): Promise<string> {
  let text = "";
  for await (const data of readTool(tool).setEncoding("utf8")) {
    text += data;
    if (text.length > answerBytes) throw tool.explain("its answer is too long", 0);
  }
  return text;
}
