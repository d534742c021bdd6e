/**
 * Hostile values in every remote script, past all validation: each shell runs the real text with the values as they
 * travel, in an empty place where every program is a recorder. What runs must be what the script itself names.
 */
import { execFile, spawnSync } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  globSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { programOf } from "@chom/shared/script/program";
import { baitCommand, hostileTexts } from "@chom/shared/testing/hostile-text";
import { ensureCached } from "@chom/stack/cache";
import { unpackDebianPackages } from "@chom/stack/debian-package";
import { scratchFolder } from "@chom/stack/scratch-folder";
import { afterAll, expect, test } from "vitest";

const run = promisify(execFile);
const root = fileURLToPath(new URL("../../../", import.meta.url));
const isLong = process.env["CHOM_HOSTILE"] === "long";
/** Runs of each script by each shell. */
const runs = isLong ? 1_000 : 2;
const scratch = scratchFolder("hostile-scripts");
afterAll(scratch.remove);
// Whoever runs the tests may be root; the shells under test are nobody.
const nobody = process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : {};

const where = (name: string): string | undefined =>
  (process.env["PATH"] ?? "")
    .split(delimiter)
    .map((folder) => join(folder, name))
    .find((path) => existsSync(path));

/** Debian's busybox, where it is installed, or can be fetched as the test servers are. */
async function busybox(): Promise<string | undefined> {
  const unpack = (into: string) =>
    unpackDebianPackages(["busybox-static"], "bookworm", into, () => {});
  const found =
    where("busybox") ??
    (await ensureCached("busybox-bookworm", unpack, () => {}).then(
      (folder) => join(folder, "bin/busybox"),
      () => undefined,
    ));
  if (!found || !existsSync(found)) return undefined;
  const copy = join(scratch.path, "busybox");
  copyFileSync(found, copy);
  chmodSync(copy, 0o755);
  return copy;
}

type Shell = { readonly name: string; readonly path: string; readonly args: readonly string[] };
const shells: readonly Shell[] = [
  { name: "dash", path: where("dash"), args: [] },
  { name: "bash", path: where("bash"), args: ["--posix"] },
  { name: "busybox", path: await busybox(), args: ["sh"] },
].flatMap(({ path, ...shell }) => {
  if (path) return [{ ...shell, path }];
  console.warn(`scripts with hostile values are not run by ${shell.name}: it is not here`);
  return [];
});
const strace = where("strace");
const canTrace =
  strace !== undefined && spawnSync(strace, ["-f", "-e", "trace=execve", "/bin/true"]).status === 0;
if (!canTrace) console.warn("processes are recorded, not traced: strace is not usable here");

/** Values that a job would send; what a script checks must pass, so that the hostile one gets as far as it can. */
const plain: Readonly<Record<string, string>> = {
  site_user: "s-abc123def456",
  root_path: "/srv/sites/s-abc123def456",
  database_name: "s_abc123def456",
  db_name: "s_abc123def456",
  db_user: "s_abc123def456",
  restore_id: "restore-1",
  confirm: "yes",
  needed_bytes: "1",
  has_files: "yes",
  has_database: "yes",
  php_version: "8.2",
  domain: "shop.example",
  system_user: "s-abc123def456",
  login_user: "chom",
  key_blob: "AAAA",
  keep_blob: "BBBB",
  key_comment: "chom:1",
  fingerprint: "SHA256:abc",
  since: "1700000000",
  token: "abcdefghijklmnopqrstuvwxyz",
  php: "yes",
  database: "yes",
  release: "r-1",
  ipv6: "no",
  sha256: "0".repeat(64),
  size_bytes: "1",
  marker: "index.php",
  run: "run-1",
  keep_days: "7",
  version: "v-1",
  socket: "/run/mysqld/mysqld.sock",
  file: "index.html",
  web_root: "/srv/sites/s-abc123def456/public",
};

const scripts = globSync("services/*/src/scripts/*.sh", { cwd: root })
  .sort()
  .map((path) => {
    const text = readFileSync(join(root, path), "utf8");
    const declared = /^#\s+in\s+(.*)$/m.exec(text)?.[1] ?? "";
    const names = declared
      .replaceAll(/\([^)]*\)/g, "")
      .split(/\s+/)
      .filter((name) => /^\w+$/.test(name));
    return { path, text, names };
  });

/** The real thing without what needs a server: the supervisor of runs, whose own tests are elsewhere. */
function programWith(text: string, values: Record<string, string>): string {
  return programOf(text, values)
    .replace('rm -f -- "$0"\n', "")
    .replace('\nchom_supervise "$@"\n', "\n")
    .replace(/\nchom_finish \$\?\n$/, "\nexit $?\n");
}

/** One folder of recorders: each writes its name and arguments down, says nothing and succeeds. */
function recorders(): { readonly bin: string; readonly record: string; readonly home: string } {
  const [bin, record, home] = ["bin", "record", "home"].map((name) => join(scratch.path, name)) as [
    string,
    string,
    string,
  ];
  for (const folder of [bin, home]) mkdirSync(folder, { mode: 0o755 });
  writeFileSync(record, "");
  chmodSync(record, 0o666);
  chmodSync(scratch.path, 0o755);
  const recorder = join(bin, "recorder");
  // `read` keeps a pipe's writer from failing; nothing here is a value.
  writeFileSync(
    recorder,
    `#!${where("dash") ?? "/bin/sh"}\n{ printf '%s\\001' "\${0##*/}" "$@"; printf '\\002'; } >>'${record}'\n`,
  );
  chmodSync(recorder, 0o755);
  const words = new Set([baitCommand, "touch", "rm", "id", "sh", "bash", "perl", "curl", "x"]);
  for (const { text } of scripts)
    for (const word of text.match(/[a-z][a-z0-9_.-]+/g) ?? []) words.add(word);
  const prelude = programOf("", {});
  for (const word of prelude.match(/[a-z][a-z0-9_.-]+/g) ?? []) words.add(word);
  // Builtins are never looked for; a few programs must be real for the values to arrive.
  for (const word of words)
    if (!["base64", "recorder"].includes(word)) symlinkSync(recorder, join(bin, word));
  symlinkSync(where("base64") ?? "/usr/bin/base64", join(bin, "base64"));
  return { bin, record, home };
}

type Ran = { readonly program: string; readonly args: readonly string[] };
const readRecord = (path: string): Ran[] =>
  readFileSync(path, "latin1")
    .split("\u0002")
    .filter(Boolean)
    .map((line) => {
      const [program = "", ...args] = line.split("\u0001").slice(0, -1);
      return { program, args };
    });

/** Programs that a script or what it always has names in its own text. */
const namedBy = (text: string): Set<string> => new Set(text.match(/[a-z][a-z0-9_.-]+/g) ?? []);
const common = namedBy(programOf("", {}));
/** Of a driver that runs all programs of a script in turn, so that one trace holds them. */
const driver = (shell: Shell, folder: string): string =>
  `for program in '${folder}'/*; do ${shell.path} ${shell.args.join(" ")} "$program" </dev/null >/dev/null 2>&1 3>/dev/null; done`;

const place = recorders();
/** What busybox would run by itself is led to the recorders, but for what a shell does itself. */
function ledAway({ name, path }: Shell): string {
  if (name !== "busybox") return "";
  const own = new Set([
    "[",
    "[[",
    "base64",
    "echo",
    "printf",
    "test",
    "kill",
    "true",
    "false",
    "pwd",
  ]);
  const { stdout } = spawnSync(path, ["--list"], { encoding: "utf8" });
  return stdout
    .split("\n")
    .filter((program) => /^[a-z][a-z0-9_]*$/.test(program) && !own.has(program))
    .map((program) => `${program}() { '${place.bin}/${program}' "$@"; }\n`)
    .join("");
}

const environment = { PATH: place.bin, LC_ALL: "C", HOME: place.home };

async function execute(shell: Shell, folder: string, trace: string): Promise<void> {
  const all = ["-c", driver(shell, folder)];
  const options = { cwd: place.home, env: environment, ...nobody, maxBuffer: 64 * 1024 * 1024 };
  const dash = where("dash") ?? "/bin/sh";
  if (canTrace && strace) {
    await run(
      strace,
      ["-f", "-qq", "-s", "300", "-e", "trace=execve", "-o", trace, dash, ...all],
      options,
    ).catch(() => {});
  } else await run(dash, all, options).catch(() => {});
}

/** Paths that were executed, whether by search or by a path of their own. */
const executed = (trace: string): string[] =>
  [...readFileSync(trace, "latin1").matchAll(/execve\("((?:[^"\\]|\\.)*)"/g)].map(
    ([, path]) => path ?? "",
  );

test.each(shells)("a script that did run a value would be heard: $name", async (shell) => {
  const folder = join(scratch.path, `${shell.name}-injectable`);
  mkdirSync(folder, { mode: 0o755 });
  const program = programWith('eval "printf %s $VALUE"', { VALUE: `x; ${baitCommand} y` });
  writeFileSync(join(folder, "1"), program, { mode: 0o644 });
  writeFileSync(place.record, "");
  const trace = join(scratch.path, `${shell.name}-injectable.trace`);
  writeFileSync(trace, "");
  chmodSync(trace, 0o666);
  await execute(shell, folder, trace);
  expect(readRecord(place.record)).toContainEqual({ program: baitCommand, args: ["y"] });
  if (canTrace) expect(executed(trace)).toContain(join(place.bin, baitCommand));
});

test("every script declares the values that it is given", () => {
  expect(scripts.length).toBeGreaterThan(30);
  for (const { path, names } of scripts) expect([path, names.length > 0]).toEqual([path, true]);
});

test.each(shells)(
  "case 01, 03, 04, 07: $name runs no program and touches no file for any value of any script",
  async (shell) => {
    const next = hostileTexts(7);
    const led = ledAway(shell);
    const allowed = new Set([shell.path, where("dash"), "/proc/self/exe"]);
    let reached = 0;
    for (const [index, { path, text, names }] of scripts.entries()) {
      const folder = join(scratch.path, `${shell.name}-${index}`);
      mkdirSync(folder, { mode: 0o755 });
      for (let made = 0; made < runs; made += 1) {
        const hostile = next().replaceAll("\0", "") || "-";
        // One hostile value among good ones, each in turn; now and then all of them at once.
        const values = Object.fromEntries(
          names.map((name, at) => {
            const isHostile =
              (made + index) % (names.length + 1) === at ||
              (made + index) % (names.length + 1) === names.length;
            return [name, isHostile ? hostile : (plain[name.toLowerCase()] ?? "plain")];
          }),
        );
        writeFileSync(
          join(folder, String(made).padStart(5, "0")),
          `${led}${programWith(text, values)}`,
          {
            mode: 0o644,
          },
        );
      }
      writeFileSync(place.record, "");
      const trace = join(scratch.path, `${shell.name}-${index}.trace`);
      writeFileSync(trace, "");
      chmodSync(trace, 0o666);
      await execute(shell, folder, trace);
      const named = namedBy(text);
      for (const { program, args } of readRecord(place.record)) {
        reached += 1;
        const what = `${path} by ${shell.name}: ${program} ${JSON.stringify(args).slice(0, 300)}`;
        expect([what, program !== baitCommand]).toEqual([what, true]);
        expect([what, named.has(program) || common.has(program)]).toEqual([what, true]);
      }
      for (const program of executed(trace)) {
        const isPlanned = allowed.has(program) || program.startsWith(`${place.bin}/`);
        expect([path, shell.name, program, isPlanned]).toEqual([path, shell.name, program, true]);
      }
      expect([path, readdirSync(place.home)]).toEqual([path, []]);
    }
    // The recorders were asked, so the scripts did run.
    expect(reached).toBeGreaterThan(scripts.length);
    expect(statSync(join(place.bin, baitCommand)).isFile()).toBe(true);
  },
  isLong ? 7_200_000 : 240_000,
);
