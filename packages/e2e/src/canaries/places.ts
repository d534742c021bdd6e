/** Wherever a secret might turn up: logs, files, streams, rows, spans, processes, and the server. */
import { readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { type Kept, storedMessages, storedRows } from "@chom/shared/testing/everything-stored";
import type { EmbeddedStack } from "@chom/stack/embedded-stack";
import type { Vps } from "@chom/stack/vps";
import { connectAsTopology } from "../stored-entries.ts";

/** Files whose place it is to hold secrets; everything else of the stack's folder is looked at. */
const keepers = /\.(?:key|nk|postgres|token|url)$/;

function* filesOf(folder: string): Generator<Kept> {
  for (const entry of readdirSync(folder, { withFileTypes: true, recursive: true })) {
    if (!entry.isFile() || keepers.test(entry.name)) continue;
    const path = join(entry.parentPath, entry.name);
    const kind = entry.name.endsWith(".log") ? "log" : "file";
    yield { place: `${kind} ${entry.name}`, bytes: readFileSync(path) };
  }
}

/** What the stack wrote and keeps. */
export async function* keptByStack(stack: EmbeddedStack): AsyncGenerator<Kept> {
  yield* filesOf(stack.folder);
  const logs = { nats: stack.nats.log(), postgres: stack.postgres.log(), ca: stack.pebble.log() };
  for (const [name, log] of Object.entries(logs)) {
    yield { place: `log ${name}`, bytes: Buffer.from(log) };
  }
  const nats = await connectAsTopology(stack);
  try {
    for await (const { place, bytes } of storedMessages(nats)) {
      yield { place: `stream ${place}`, bytes };
    }
  } finally {
    await nats.close();
  }
  for await (const { place, bytes } of storedRows(stack.postgres.url)) {
    yield { place: `row ${place}`, bytes };
  }
}

/** A command line and an environment end at an exec: what follows has its own. */
type Seen = Map<string, Kept>;

function lookAt(pid: string, known: Map<string, string>, seen: Seen): void {
  const line = readFileSync(`/proc/${pid}/cmdline`, "latin1");
  if (known.get(pid) === line) return;
  known.set(pid, line);
  const name = basename(line.split("\0")[0] ?? "");
  const environment = readFileSync(`/proc/${pid}/environ`, "latin1");
  for (const [kind, text] of [
    ["arguments", line],
    ["environment", environment],
  ] as const) {
    seen.set(text, { place: `${kind} of ${name}`, bytes: Buffer.from(text, "latin1") });
  }
}

/**
 * Looks at the processes of this machine, those on its servers among them, until `stop`; some five times a second, and
 * whenever `look` is called.
 */
export function watchProcesses() {
  const seen: Seen = new Map();
  const known = new Map<string, string>();
  const look = () => {
    for (const pid of readdirSync("/proc")) {
      if (!/^\d+$/.test(pid)) continue;
      try {
        lookAt(pid, known, seen);
      } catch {
        // It has ended, or is another user's.
      }
    }
  };
  const timer = setInterval(look, 200);
  return { look, seen: (): Kept[] => [...seen.values()], stop: () => clearInterval(timer) };
}

/** Places of secrets on a server: sites, those that were removed and are kept for a while, databases, host keys. */
const places = ["/srv/sites", "/var/lib/chom/quarantine", "/var/lib/mysql", "/etc/ssh"];
const elsewhere = ["/proc", "/sys", "/dev", ...places];
const changed = `
find / \\( ${elsewhere.map((path) => `-path ${path}`).join(" -o ")} \\) -prune -o -type f -newermt "@$1" -size -20M \
  -exec sh -c 'for f; do printf %s "$f" | base64 -w0; printf " "; base64 -w0 <"$f"; echo; done' sh {} +`;

/** Names and contents of all files that came to be or changed on a server since, outside of the places for secrets. */
export async function* leftOnServer(vps: Vps, since: Date): AsyncGenerator<Kept> {
  const sinceSeconds = String(Math.floor(since.getTime() / 1_000));
  const { stdout } = await vps.exec(["sh", "-c", changed, "sh", sinceSeconds]);
  for (const line of stdout.split("\n").filter((each) => each !== "")) {
    const [name = "", content = ""] = line.split(" ");
    const path = Buffer.from(name, "base64");
    const bytes = Buffer.concat([path, Buffer.from("\n"), Buffer.from(content, "base64")]);
    yield { place: `server ${path.toString()}`, bytes };
  }
}
