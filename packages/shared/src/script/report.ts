/** What the launcher on a server says about a run, read from the channel's stderr. */
import { type Failure, failureOf } from "../failure/failure.ts";
import { scrubLine } from "../secrets/scrub.ts";
import { codeOfText } from "./exit-codes.ts";

/** More than a result of 1 MiB and a log of 64 KiB can be in base64. */
const maxReportBytes = 2 * 1024 * 1024;
const longestWatchedLine = 16;

/**
 * Gathers what a launcher says, in pieces of any size at a cost that does not grow with what came before, and calls whoever
 * watches for a line. `add` answers false once it is more than 2 MiB, of which no more is kept.
 */
export function reportText(watched: Readonly<Record<string, () => void>>) {
  const pieces: string[] = [];
  let size = 0;
  let line = "";
  return {
    add(piece: string): boolean {
      size += piece.length;
      if (size > maxReportBytes) return false;
      pieces.push(piece);
      const [first = "", ...more] = piece.split("\n");
      line = (line + first).slice(0, longestWatchedLine);
      for (const next of more) {
        if (Object.hasOwn(watched, line)) watched[line]?.();
        line = next.slice(0, longestWatchedLine);
      }
      return true;
    },
    text: () => pieces.join(""),
  };
}

export type Report = {
  readonly status: number;
  readonly timedOut: boolean;
  /** The script's results on descriptor 3. */
  readonly out: Buffer;
  /** The last 64 KiB of what it printed. */
  readonly log: Buffer;
  /** Size and SHA-256 of all that it printed, when that is more. */
  readonly wholeLog: { readonly sizeBytes: number; readonly sha256: string } | undefined;
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
    throw failureOf(code, `a run could not be started: ${scrubLine(said)}`);
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
    wholeLog: wholeLogOf(fields),
    found: fields.get("found"),
  };
}

function wholeLogOf(fields: ReadonlyMap<string, string>): Report["wholeLog"] {
  const [size = "", sha256 = ""] = [fields.get("log_size"), fields.get("log_digest")];
  if (!/^[0-9]{1,15}$/.test(size) || !/^(?:[0-9a-f]{64})?$/.test(sha256)) return undefined;
  return { sizeBytes: Number(size), sha256 };
}

const decode = (text: string | undefined): Buffer => Buffer.from(text ?? "", "base64");

function failureToBegin(text: string, exitCode: number | undefined): Failure {
  const said = scrubLine(text.trim().split("\n").at(-1) ?? "", 300);
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
