/** Short commands, awaited. */
import { spawn } from "node:child_process";

export type CommandResult = { code: number; stdout: string; stderr: string };

export type CommandOptions = {
  input?: string | Buffer;
  cwd?: string;
  env?: Record<string, string | undefined>;
  uid?: number;
  gid?: number;
  /** SIGKILL after so long, milliseconds; default 60 s. The code is then -1. */
  timeoutMs?: number;
  /** Called with every full line of either stream, for progress. */
  onLine?: (line: string) => void;
};

/** Runs a program to its end and gives what it said; a non-zero code, and a missing program (127), are results. */
export async function runCommand(
  command: string,
  args: readonly string[],
  { input, timeoutMs = 60_000, onLine, env, ...how }: CommandOptions = {},
): Promise<CommandResult> {
  const child = spawn(command, args, {
    env: { ...process.env, ...env },
    ...how,
    stdio: "pipe",
    timeout: timeoutMs,
    killSignal: "SIGKILL",
  });
  const said = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"] as const) {
    let line = "";
    child[name].setEncoding("utf8").on("data", (text: string) => {
      said[name] += text;
      if (!onLine) return;
      const lines = (line + text).split(/\r?\n/);
      line = lines.pop() ?? "";
      lines.filter((l) => l.trim() !== "").forEach(onLine);
    });
  }
  // A command that does not read its input closes the pipe: that is its business.
  child.stdin.on("error", () => {}).end(input ?? "");
  return new Promise((done) => {
    child.once("error", (error) => done({ code: 127, stdout: "", stderr: error.message }));
    child.once("close", (code) => done({ code: code ?? -1, ...said }));
  });
}
