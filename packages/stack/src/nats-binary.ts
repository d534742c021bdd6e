/** Where a new enough nats-server comes from. */
import { createHash } from "node:crypto";
import { chmodSync, copyFileSync, existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { classify, failureOf } from "@chom/shared/failure/failure";
import { cacheFolder, ensureCached } from "./cache.ts";
import { findProgram } from "./child-process.ts";
import { unpackDebianPackages } from "./debian-package.ts";
import type { Progress } from "./progress.ts";
import { runCommand } from "./run-command.ts";
import { scratchFolder } from "./scratch-folder.ts";

/** Older servers accept message schedules, TTLs and atomic batches, and silently ignore them. */
const minimum = [2, 14] as const;
const release = "2.14.5";
const downloadTimeoutMs = 15_000;

/** SHA-256 of the official archives (from the 2.14 Dockerfile of nats-docker). */
const archives: Readonly<Record<string, { name: string; sha256: string }>> = {
  x64: {
    name: "linux-amd64",
    sha256: "5e3b603d47c447bda1f77f9ac16dbf91c90aac4ff3681f8fbbc7201e4ed99355",
  },
  arm64: {
    name: "linux-arm64",
    sha256: "673a98d3faa79dde3f9ebf16d6dfac36a5f694e7ad2015e4954dd7939c85cd4c",
  },
};

/**
 * The path of a nats-server of at least 2.14: `$NATS_SERVER_BIN`, then PATH, the cache, the official release
 * (pinned by SHA-256), Debian forky (signature checked by apt), `go install`. Fails with `tool-missing`.
 */
export async function resolveNatsServer(progress: Progress): Promise<string> {
  const chosen = process.env["NATS_SERVER_BIN"];
  if (chosen) {
    if (await isNewEnough(chosen)) return chosen;
    throw failureOf("tool-missing", `NATS_SERVER_BIN=${chosen} is no nats-server of at least 2.14`);
  }
  const installed = findProgram("nats-server");
  if (installed && (await isNewEnough(installed))) return installed;
  const name = `nats-server-${release}`;
  const cached = join(cacheFolder(), name, "nats-server");
  if (existsSync(cached)) return cached;
  await ensureCached(name, (folder) => obtain(folder, progress), progress);
  return cached;
}

async function isNewEnough(binary: string): Promise<boolean> {
  const { stdout } = await runCommand(binary, ["--version"], { timeoutMs: 5_000 });
  const [, major, minor] = /v(\d+)\.(\d+)\./.exec(stdout)?.map(Number) ?? [];
  if (major === undefined || minor === undefined) return false;
  return major > minimum[0] || (major === minimum[0] && minor >= minimum[1]);
}

async function obtain(folder: string, progress: Progress): Promise<void> {
  const target = join(folder, "nats-server");
  const reasons: string[] = [];
  for (const source of [fromRelease, fromDebian, fromGo]) {
    const scratch = scratchFolder("nats-bin");
    try {
      copyFileSync(await source(scratch.path, progress), target);
      chmodSync(target, 0o755);
      if (await isNewEnough(target)) return;
      reasons.push("what was found is older than 2.14");
    } catch (error) {
      const failure = classify(error);
      if (failure.kind === "security") throw failure;
      reasons.push(failure.message);
    } finally {
      scratch.remove();
    }
  }
  throw failureOf(
    "tool-missing",
    `no nats-server of at least 2.14 (${reasons.join("; ")}): install one or set NATS_SERVER_BIN`,
  );
}

async function fromRelease(folder: string, progress: Progress): Promise<string> {
  const archive = process.platform === "linux" ? archives[process.arch] : undefined;
  if (!archive) throw new Error(`no release is pinned for ${process.platform} ${process.arch}`);
  const base = `nats-server-v${release}-${archive.name}`;
  progress(`fetching nats-server ${release} from its release page`);
  const url = `https://github.com/nats-io/nats-server/releases/download/v${release}/${base}.tar.gz`;
  const answer = await fetch(url, { signal: AbortSignal.timeout(downloadTimeoutMs) }).catch(
    () => null,
  );
  if (!answer?.ok) throw new Error("the release page is out of reach");
  const bytes = Buffer.from(await answer.arrayBuffer());
  if (createHash("sha256").update(bytes).digest("hex") !== archive.sha256) {
    throw failureOf("weak-crypto", `${base}.tar.gz is not what was pinned: its SHA-256 differs`);
  }
  writeFileSync(join(folder, "nats.tar.gz"), bytes);
  const tar = await runCommand("tar", ["-xzf", "nats.tar.gz", "--strip-components=1"], {
    cwd: folder,
  });
  if (tar.code !== 0) throw new Error(`the release does not unpack: ${tar.stderr}`);
  return join(folder, "nats-server");
}

async function fromDebian(folder: string, progress: Progress): Promise<string> {
  await unpackDebianPackages(["nats-server"], "forky", folder, progress);
  return join(folder, "usr/sbin/nats-server");
}

async function fromGo(folder: string, progress: Progress): Promise<string> {
  const go = findProgram("go");
  if (!go) throw new Error("go is not installed");
  progress(`building nats-server ${release} with go`);
  const module = `github.com/nats-io/nats-server/v2@v${release}`;
  const built = await runCommand(go, ["install", module], {
    env: { GOBIN: folder },
    timeoutMs: 300_000,
  });
  if (built.code !== 0) throw new Error(`go install failed: ${built.stderr.slice(-200)}`);
  return join(folder, "nats-server");
}
