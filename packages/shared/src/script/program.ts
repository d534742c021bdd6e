/** The text that a server runs: the fixed prelude, the values as base64, the script; and the fixed way to start it. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { hashId } from "../aggregate/id.ts";
import { codes, policyOf } from "../failure/codes.ts";
import { failureOf } from "../failure/failure.ts";
import { Secret } from "../secrets/secret.ts";
import type { Variables } from "./script.ts";

const part = (name: string): string => readFileSync(new URL(name, import.meta.url), "utf8");
const session = part("./session.sh");
const supervisor = part("./supervisor.sh");
const prelude = part("./prelude.sh");
const launcher = part("./launcher.sh");

const environment =
  "env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C HOME=/root chom_peer=$PPID " +
  'chom_auth="$SSH_USER_AUTH"';
const bootstrap = `'umask 077; IFS= read -r chom_line && eval "$(printf %s "$chom_line" | base64 -d)"'`;

/**
 * The one command that is ever executed over SSH: becomes root, then runs what comes on stdin. It holds no values,
 * so nothing of a job is ever in a process list.
 */
export const commandLine =
  `if [ "$(id -u)" = 0 ]; then exec ${environment} sh -c ${bootstrap}; ` +
  `else exec sudo -n -- ${environment} sh -c ${bootstrap}; fi`;

const temporary = codes.filter((code) => {
  const policy = policyOf(code);
  return policy?.kind === "transient" || policy?.wait !== undefined;
});

const nameShape = /^[A-Za-z][A-Za-z0-9_]{0,63}$/;
const reserved =
  /^(?:PATH|IFS|ENV|HOME|SHELL|USER|LOGNAME|PWD|OLDPWD|CDPATH|PS[0-9]|OPT(?:IND|ARG|ERR)|PPID|UID|EUID|GROUPS|LINENO|RANDOM|SECONDS|REPLY|TMPDIR|TZ|LANG|LC_.*|LD_.*|BASH.*|POSIXLY_CORRECT|SHELLOPTS|chom_.*)$/i;

/** A value as the server gets it; Failure `invalid-config` for what a shell cannot hold. */
function assignment(name: string, value: string | Secret<string>): string {
  if (!nameShape.test(name) || reserved.test(name)) {
    throw failureOf("invalid-config", `"${name}" cannot be a script's variable`);
  }
  const plain = value instanceof Secret ? value.reveal() : value;
  if (plain.includes("\0")) throw failureOf("invalid-config", `the value of ${name} holds a NUL`);
  const encoded = Buffer.from(plain, "utf8").toString("base64");
  // A sentinel keeps the line breaks at the end, which a substitution would cut off.
  return `${name}=$(printf %s '${encoded}' | base64 -d && printf .)\n${name}=\${${name}%.}`;
}

/** The whole program of one run. It removes its own file first: that file may hold secrets. */
export function programOf(scriptText: string, variables: Variables): string {
  const values = Object.entries(variables).map(([name, value]) => assignment(name, value));
  return [
    'rm -f -- "$0"',
    session,
    supervisor,
    prelude,
    `chom_temporary='${temporary.join(" ")}'`,
    'chom_supervise "$@"',
    "(",
    "set -eu",
    "umask 027",
    "printf 'v=1\\n' >&3",
    ...values,
    scriptText,
    ")",
    "chom_finish $?",
    "",
  ].join("\n");
}

const digest = (text: string): string => createHash("sha256").update(text).digest("hex");

/**
 * What a runner on a server (runner.sh) must know to let these scripts run and nothing else: SHA-256 of the command, of
 * the launcher without its settings, and of each program without its values.
 */
export function runnerList(scriptTexts: readonly string[]): string {
  const fixed = (text: string) =>
    programOf(text, {}).replace(/^chom_temporary='[a-z0-9 -]*'\n/m, "");
  return [
    `command ${digest(commandLine)}`,
    `launcher ${digest([session, launcher].join("\n"))}`,
    ...[...new Set(scriptTexts.map((text) => `program ${digest(fixed(text))}`))].toSorted(),
    "",
  ].join("\n");
}

/** How a run is started: values of fixed grammars only. */
export type Launch = {
  readonly mode: "run" | "flow" | "stop" | "uploaded";
  readonly tenant: string;
  readonly jobId: string;
  readonly fence: string;
  readonly leaseKeys: readonly string[];
  /** Names the run beside the job; see `stepHash`. */
  readonly step: string;
  readonly timeoutMs: number;
  readonly upload: boolean;
};

const word = /^[a-z0-9][a-z0-9.-]{0,127}$/;
const fenceShape = /^([0-9]{1,18})\.([0-9]{1,18})$/;
// A shell without two-digit descriptors has four left for locks.
const maxKeys = 4;

/**
 * Names a run of a step: other values make another run, so that an answer to another question is never taken for it.
 */
export const stepHash = (step: string, scriptName: string, variables: Variables): string =>
  hashId(
    step,
    scriptName,
    ...Object.entries(variables)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .flatMap(([name, value]) => [name, value instanceof Secret ? value.reveal() : value]),
  );

/** The lines that stdin begins with: the launcher with its settings, and the program. Uploaded bytes follow them. */
export function openingOf(launch: Launch, program: string): Buffer {
  const fence = fenceShape.exec(launch.fence);
  const keys = launch.leaseKeys.length > 0 ? [...launch.leaseKeys].sort() : [`run.${launch.jobId}`];
  const words = [launch.tenant, launch.jobId, launch.step, ...keys];
  if (
    !fence ||
    keys.length > maxKeys ||
    !words.every((each) => word.test(each) && !each.includes(".."))
  ) {
    throw failureOf(
      "invalid-config",
      "tenant, job, step, lease keys or fence cannot name a run on a server",
    );
  }
  const settings = [
    `chom_mode=${launch.mode}`,
    `chom_tenant=${launch.tenant}`,
    `chom_job=${launch.jobId}`,
    `chom_step=${launch.step}`,
    `chom_keys='${keys.join(" ")}'`,
    `chom_epoch=${fence[1]}`,
    `chom_sequence=${fence[2]}`,
    `chom_timeout=${Math.max(1, Math.ceil(launch.timeoutMs / 1_000))}`,
    `chom_upload=${launch.upload ? "yes" : "no"}`,
  ];
  const start = [...settings, session, launcher].join("\n");
  return Buffer.from(`${base64(start)}\n${base64(program)}\n`);
}

const base64 = (text: string): string => Buffer.from(text, "utf8").toString("base64");
