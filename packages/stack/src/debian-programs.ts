/** Programs of Debian with everything they need, unpacked into the cache and run from there, whatever this machine has. */
import { createHash } from "node:crypto";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { failureOf } from "@chom/shared/failure/failure";
import { cacheFolder, ensureCached } from "./cache.ts";
import { findProgram } from "./child-process.ts";
import { debianMirror } from "./debian-package.ts";
import type { Progress } from "./progress.ts";
import { runCommand } from "./run-command.ts";

const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
const timeoutMs = 180_000;

export type DebianPrograms = {
  /** Names the folder in the cache. */
  name: string;
  suite: string;
  packages: readonly string[];
  /** Paths of programs inside the packages, like `usr/bin/psql`. */
  programs: readonly string[];
};

/**
 * A folder with `bin/<program>` for each of them and the unpacked packages in `root`. Dependencies come too, C library
 * included, so that a newer suite's programs run here. Fails with `tool-missing` without a Debian mirror.
 */
export async function ensureDebianPrograms(
  wanted: DebianPrograms,
  progress: Progress,
): Promise<string> {
  const key = createHash("sha256").update(JSON.stringify(wanted)).digest("hex").slice(0, 12);
  const name = `${wanted.name}-${wanted.suite}-${key}`;
  await ensureCached(name, (folder) => build(wanted, folder, progress), progress);
  return join(cacheFolder(), name);
}

async function build(wanted: DebianPrograms, folder: string, progress: Progress): Promise<void> {
  const { suite, packages, programs } = wanted;
  const what = packages.join(" and ");
  const mirror = await debianMirror();
  if (!mirror || !existsSync(keyring) || !findProgram("dpkg-deb")) {
    throw failureOf("tool-missing", `${what} cannot come from Debian: no mirror is configured`);
  }
  progress(`fetching ${what} from Debian ${suite}`);
  const root = join(folder, "root");
  const apt = join(folder, "apt");
  for (const deb of await download(wanted, mirror, apt)) {
    const unpacked = await runCommand("dpkg-deb", ["-x", deb, root]);
    if (unpacked.code !== 0) throw failureOf("tool-missing", `${deb}: ${unpacked.stderr}`);
  }
  rmSync(apt, { recursive: true, force: true });
  mkdirSync(join(folder, "bin"));
  const { loader, libraries } = loaderIn(root);
  for (const program of programs) {
    const path = join(folder, "bin", program.split("/").at(-1) ?? "");
    const here = 'here=$(dirname "$(readlink -f "$0")")/../root';
    const run = `exec "$here/${loader}" --library-path "${libraries}" "$here/${program}" "$@"`;
    writeFileSync(path, `#!/bin/sh\n${here}\n${run}\n`);
    chmodSync(path, 0o755);
  }
}

/** The C library's loader below `root`, and the folders of all libraries; both vary with suite and machine. */
function loaderIn(root: string): { loader: string; libraries: string } {
  const folders = ["usr/lib", "lib"].flatMap((base) =>
    existsSync(join(root, base))
      ? readdirSync(join(root, base))
          .filter((name) => name.endsWith("-linux-gnu"))
          .map((name) => `${base}/${name}`)
      : [],
  );
  for (const folder of folders) {
    const found = readdirSync(join(root, folder)).find((name) => /^ld-linux.*\.so/.test(name));
    if (!found) continue;
    const libraries = folders.map((each) => `$here/${each}`).join(":");
    return { loader: `${folder}/${found}`, libraries };
  }
  throw failureOf("tool-missing", "the packages brought no loader for their programs");
}

async function download(
  { suite, packages }: DebianPrograms,
  mirror: string,
  dir: string,
): Promise<string[]> {
  for (const sub of ["state/lists/partial", "cache/archives/partial"]) {
    mkdirSync(join(dir, sub), { recursive: true });
  }
  const source = `deb [signed-by=${keyring}] ${mirror} ${suite} main`;
  writeFileSync(join(dir, "sources.list"), `${source}\n`);
  writeFileSync(join(dir, "status"), "");
  const settings = {
    "Dir::Etc::SourceList": join(dir, "sources.list"),
    "Dir::Etc::SourceParts": join(dir, "none"),
    "Dir::State": join(dir, "state"),
    "Dir::State::status": join(dir, "status"),
    "Dir::Cache": join(dir, "cache"),
    "APT::Sandbox::User": "", // apt's own user cannot enter a folder of mode 0700
    "Acquire::Languages": "none",
    "Acquire::http::Timeout": "20",
  };
  const options = Object.entries(settings).flatMap(([key, value]) => ["-o", `${key}=${value}`]);
  const get = ["install", "--download-only", "-y", "--no-install-recommends", ...packages];
  for (const verb of [["update"], get]) {
    const result = await runCommand("apt-get", ["-qq", ...options, ...verb], { timeoutMs });
    if (result.code === 0) continue;
    const said = result.stderr.trim().split("\n").slice(0, 2).join(" ");
    throw failureOf("tool-missing", `apt-get ${verb[0]} failed: ${said}`);
  }
  const archives = join(dir, "cache/archives");
  return readdirSync(archives)
    .filter((file) => file.endsWith(".deb"))
    .map((file) => join(archives, file));
}

/** The suite of this machine when it is Debian, else bookworm. */
export function ownSuite(): string {
  try {
    const release = readFileSync("/etc/os-release", "utf8");
    const name = /^VERSION_CODENAME=(\w+)$/m.exec(release)?.[1];
    return /^ID=debian$/m.test(release) && name ? name : "bookworm";
  } catch {
    return "bookworm";
  }
}
