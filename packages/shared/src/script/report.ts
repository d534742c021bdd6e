/** What the launcher on a server says about a run, read from the channel's stderr. */
import { type Failure, failureOf } from "../failure/failure.ts";
import { codeOfText } from "./exit-codes.ts";

/** More than a result of 1 MiB and a log of 64 KiB can be in base64. */
export const maxReportBytes = 2 * 1024 * 1024;

export type Report = {
  readonly status: number;
  readonly timedOut: boolean;
  /** The script's results on descriptor 3. */
  readonly out: Buffer;
  /** The last 64 KiB of what it printed. */
  readonly log: Buffer;
  /** Set when an earlier execution was found and nothing was started: `running` or `finished`. */
  readonly found: string | undefined;
};

const line = /^([a-z_]+)=(.*)$/;
const hello = "chom=1";
const states: Readonly<Record<string, readonly [code: string, message: string]>> = {
  fenced: ["fenced", "the server has seen a newer attempt"],
  "lock-busy": ["lock-busy", "another run on the server keeps the lock"],
  "still-running": ["step-timeout", "an earlier run on the server does not end"],
  died: ["ssh-connection-lost", "the run on the server ended without a result"],
};

/** The report, or throws the Failure that kept the script from running or from telling its end. */
export function parseReport(text: string, exitCode: number | undefined): Report {
  const lines = text.split("\n");
  const begin = lines.indexOf(hello);
  if (begin < 0) throw failureToBegin(text, exitCode);
  const fields = new Map<string, string>();
  for (const each of lines.slice(begin + 1)) {
    const found = line.exec(each);
    if (found?.[1] !== undefined && found[2] !== undefined) fields.set(found[1], found[2]);
  }
  if (fields.get("end") !== "1") {
    throw failureOf("ssh-connection-lost", "the server stopped in the middle of its report");
  }
  return finished(fields);
}

function finished(fields: ReadonlyMap<string, string>): Report {
  const state = fields.get("state") ?? "";
  const said = decode(fields.get("text")).toString("utf8");
  const known = Object.hasOwn(states, state) ? states[state] : undefined;
  if (known) throw failureOf(known[0], known[1]);
  if (state !== "finished") {
    const code = state === "tool-missing" ? state : (codeOfText(said) ?? "protocol-error");
    throw failureOf(code, `a run could not be started: ${said.slice(0, 500)}`);
  }
  if (fields.get("too_large") === "yes") {
    throw failureOf("output-too-large", "the script's results are larger than 1 MiB");
  }
  if (fields.get("timed_out") === "still-running") {
    throw failureOf("step-timeout", "the run is over its time and does not end");
  }
  return {
    status: Number(fields.get("status") ?? "0"),
    timedOut: fields.get("timed_out") === "yes" && fields.get("status") !== "0",
    out: decode(fields.get("out")),
    log: decode(fields.get("log")),
    found: fields.get("found"),
  };
}

const decode = (text: string | undefined): Buffer => Buffer.from(text ?? "", "base64");

function failureToBegin(text: string, exitCode: number | undefined): Failure {
  const said = text.trim().split("\n").at(-1)?.slice(0, 300) ?? "";
  if (/\bsudo: /.test(text))
    return failureOf("sudo-denied", `the login may not become root: ${said}`);
  if (exitCode === 127)
    return failureOf("tool-missing", `a tool is missing on the server: ${said}`);
  if (exitCode === 126) return failureOf("permission-denied", `the shell may not run: ${said}`);
  return exitCode === undefined
    ? failureOf("ssh-connection-lost", "the server closed the channel before the run began")
    : failureOf(
        "protocol-error",
        `the server ended with ${exitCode} before the run began: ${said}`,
      );
}
