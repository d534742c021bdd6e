/** An application's archive as configured: a file or an address, and the SHA-256 that it must have. */
import { createHash } from "node:crypto";
import { createReadStream, createWriteStream } from "node:fs";
import { mkdir, rename, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { type Readable, Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { Failure, failureOf } from "@chom/shared/failure/failure";
import { fetchPublic } from "@chom/shared/input/fetch-public";
import { type Networks, publicOnly } from "@chom/shared/input/networks";

/** More than any release of WordPress or Laravel has. */
const largestBytes = 512 * 1024 * 1024;

export type ApplicationArchive = {
  readonly sha256: string;
  /** The archive on this machine, with its SHA-256 checked. Failures `checksum-mismatch`, `repo-unavailable`. */
  ready(signal: AbortSignal): Promise<{ readonly sizeBytes: number; open(): Readable }>;
};

async function sha256Of(path: string, signal: AbortSignal): Promise<string> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(path), hash, { signal });
  return hash.digest("hex");
}

const capped = (): Transform => {
  let seen = 0;
  return new Transform({
    transform(chunk: Buffer, _, done) {
      seen += chunk.length;
      if (seen <= largestBytes) return done(null, chunk);
      return done(failureOf("archive-unsafe", `the archive is larger than ${largestBytes} bytes`));
    },
  });
};

async function download(
  { location, path, networks }: { location: string; path: string; networks: Networks },
  signal: AbortSignal,
): Promise<void> {
  const response = await fetchPublic(location, { networks, signal }).catch((cause: unknown) => {
    if (cause instanceof Failure) throw cause;
    throw failureOf("repo-unavailable", `${location} does not answer`, { cause });
  });
  if (response.statusCode !== 200) {
    response.destroy();
    throw failureOf("repo-unavailable", `${location} answers ${response.statusCode}`);
  }
  const partial = `${path}.${process.pid}.partial`;
  try {
    await pipeline(response, capped(), createWriteStream(partial), {
      signal,
    });
    await rename(partial, path);
  } finally {
    await rm(partial, { force: true });
  }
}

/**
 * The archive at `location`, a path or an http(s) address. Servers never fetch it themselves: it is fetched here
 * once into `keptIn`, checked, and streamed to them.
 */
export function applicationArchive(
  location: string,
  sha256: string,
  networks = publicOnly,
  keptIn = join(tmpdir(), "chom-archives"),
): ApplicationArchive {
  const isAddress = /^https?:\/\//.test(location);
  const path = isAddress ? join(keptIn, `${sha256}.tar.gz`) : location;
  let checked = "";
  return {
    sha256,
    async ready(signal) {
      if (isAddress && !(await stat(path).catch(() => undefined))) {
        await mkdir(dirname(path), { recursive: true, mode: 0o700 });
        await download({ location, path, networks }, signal);
      }
      const file = await stat(path).catch((cause: unknown) => {
        throw failureOf("invalid-config", `there is no archive at ${path}`, { cause });
      });
      const version = `${file.ino} ${file.size} ${file.mtimeMs}`;
      if (checked !== version) {
        const found = await sha256Of(path, signal);
        if (found !== sha256) {
          if (isAddress) await rm(path, { force: true });
          throw failureOf("checksum-mismatch", `${location} has SHA-256 ${found}, not ${sha256}`);
        }
        checked = version;
      }
      return { sizeBytes: file.size, open: () => createReadStream(path) };
    },
  };
}

/** The archive that two settings describe, or undefined when neither is set. Failure `invalid-config` for half of it. */
export function configuredArchive(
  location: string | undefined,
  sha256: string | undefined,
  name: string,
  networks = publicOnly,
): ApplicationArchive | undefined {
  if (!location && !sha256) return undefined;
  if (!location || !/^[0-9a-f]{64}$/.test(sha256 ?? "")) {
    throw failureOf(
      "invalid-config",
      `${name} needs ${name}_SHA256 with 64 hex digits, and the other way round`,
    );
  }
  return applicationArchive(location, sha256 ?? "", networks);
}
