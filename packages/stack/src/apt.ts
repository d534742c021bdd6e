/** Host programs that are missing, installed with apt-get when that is allowed. */
import { readdirSync } from "node:fs";
import { failureOf } from "@chom/shared/failure/failure";
import { findProgram } from "./child-process.ts";
import type { Progress } from "./progress.ts";
import { runCommand } from "./run-command.ts";

const installTimeoutMs = 300_000;

/**
 * Makes sure that `program` can be run and gives its path; installs `debianPackage` when it is missing and this
 * process is root on a Debian-like machine. Otherwise fails with `tool-missing` and says what to install.
 */
export async function ensureHostProgram(
  program: string,
  debianPackage: string,
  progress: Progress,
): Promise<string> {
  const found = findProgram(program);
  if (found) return found;
  const advice = `install the package "${debianPackage}"`;
  if (process.getuid?.() !== 0 || !findProgram("apt-get")) {
    throw failureOf(
      "tool-missing",
      `${program} is missing: ${advice}, or run as root to let it be done`,
    );
  }
  progress(`installing ${debianPackage} with apt-get`);
  await refreshLists(progress);
  const result = await runCommand(
    "apt-get",
    [
      "install",
      "-y",
      "-qq",
      "--no-install-recommends",
      "-o",
      "DPkg::Lock::Timeout=120",
      debianPackage,
    ],
    { env: { DEBIAN_FRONTEND: "noninteractive" }, timeoutMs: installTimeoutMs },
  );
  const installed = findProgram(program);
  if (installed) return installed;
  const said = result.stderr.trim().split("\n").slice(0, 2).join(" ");
  throw failureOf(
    "tool-missing",
    `apt-get could not install ${debianPackage} (${said}): ${advice} by hand`,
  );
}

/** Lists are absent in fresh containers; what is there already may serve, so a failed update is only told. */
async function refreshLists(progress: Progress): Promise<void> {
  const hasLists = listedFiles().some((name) => name.includes("_Packages"));
  if (hasLists) return;
  const update = await runCommand("apt-get", ["update", "-qq"], { timeoutMs: 120_000 });
  if (update.code !== 0) progress(`apt-get update failed: ${update.stderr.trim().split("\n")[0]}`);
}

function listedFiles(): string[] {
  try {
    return readdirSync("/var/lib/apt/lists");
  } catch {
    return [];
  }
}
