/** Programs out of a newer Debian suite, unpacked into a folder: no root, no source added, nothing installed. */
import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { failureOf } from "@chom/shared/failure/failure";
import { findProgram } from "./child-process.ts";
import type { Progress } from "./progress.ts";
import { runCommand } from "./run-command.ts";
import { scratchFolder } from "./scratch-folder.ts";

const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
const fetchTimeoutMs = 120_000;

/** The address of the Debian mirror this machine is configured for, or null when there is none. */
export async function debianMirror(): Promise<string | null> {
  if (!findProgram("apt-get")) return null;
  const targets = ["indextargets", "--format", "$(REPO_URI)", "Identifier: Packages"];
  const { stdout } = await runCommand("apt-get", targets);
  return stdout.split("\n").find((line) => /\/debian\/?$/.test(line)) ?? null;
}

/**
 * Downloads packages of `suite` ("forky", "sid") from this machine's own mirror with an apt state of its own,
 * checked against Debian's archive key by apt, and unpacks them into `folder` (dependencies are not followed).
 * Fails with `tool-missing` when the machine has no Debian mirror or the suite has no such package.
 */
export async function unpackDebianPackages(
  names: readonly string[],
  suite: string,
  folder: string,
  progress: Progress,
): Promise<void> {
  const what = names.join(" and ");
  const mirror = await debianMirror();
  if (!mirror || !existsSync(keyring) || !findProgram("dpkg-deb")) {
    throw failureOf(
      "tool-missing",
      `${what} cannot come from Debian: no Debian mirror is configured`,
    );
  }
  progress(`fetching ${what} from Debian ${suite}`);
  const scratch = scratchFolder("apt");
  try {
    const debs = await download(
      names,
      `deb [signed-by=${keyring}] ${mirror} ${suite} main`,
      scratch.path,
    );
    for (const deb of debs) {
      const unpacked = await runCommand("dpkg-deb", ["-x", join(scratch.path, deb), folder]);
      if (unpacked.code !== 0)
        throw failureOf("tool-missing", `${deb} cannot be unpacked: ${unpacked.stderr}`);
    }
  } finally {
    scratch.remove();
  }
}

async function download(names: readonly string[], source: string, dir: string): Promise<string[]> {
  for (const sub of ["state/lists/partial", "cache/archives/partial"]) {
    mkdirSync(join(dir, sub), { recursive: true });
  }
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
    "Acquire::Retries": "1",
  };
  const options = Object.entries(settings).flatMap(([key, value]) => ["-o", `${key}=${value}`]);
  for (const verb of [["update"], ["download", ...names]]) {
    const result = await runCommand("apt-get", ["-qq", ...options, ...verb], {
      cwd: dir,
      timeoutMs: fetchTimeoutMs,
    });
    if (result.code !== 0) {
      const said = result.stderr.trim().split("\n").slice(0, 2).join(" ");
      throw failureOf("tool-missing", `apt-get ${verb.join(" ")} failed: ${said}`);
    }
  }
  return readdirSync(dir).filter((name) => name.endsWith(".deb"));
}
