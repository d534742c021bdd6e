/** A vault in a folder, for one machine: written once, synced before it counts, readable by its owner alone. */
import { randomBytes } from "node:crypto";
import { createReadStream } from "node:fs";
import { link, mkdir, open, readdir, stat, unlink } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { pipeline } from "node:stream/promises";
import { failureOf } from "@chom/shared/failure/failure";
import { checkKey, measure, type Listed, type Vault, verifying } from "./vault.ts";

const partialFolder = ".partial";

/** A vault under `root`, which is made when it is missing (mode 0700). */
export function localVault(root: string): Vault {
  const pathOf = (key: string) => join(root, checkKey(key));
  const partials = join(root, partialFolder);
  return {
    put: (key, content, { signal } = {}) =>
      typed(key, async () => {
        const path = pathOf(key);
        const partial = join(partials, randomBytes(16).toString("hex"));
        await mkdir(partials, { recursive: true, mode: 0o700 });
        await mkdir(dirname(path), { recursive: true, mode: 0o700 });
        const { stream, measured } = measure();
        try {
          const file = await open(partial, "wx", 0o600);
          const sink = file.createWriteStream({ flush: true });
          await pipeline(content, stream, sink, signal ? { signal } : {});
          // A link fails when its name is taken, and appears whole or not at all.
          await link(partial, path);
        } finally {
          await unlink(partial).catch(ignoreMissing);
        }
        await syncFolder(dirname(path));
        return measured();
      }),
    get: (key, expected, signal) =>
      typed(key, async () => {
        const path = pathOf(key);
        await stat(path);
        const verified = verifying(key, expected);
        // The error reaches the reader through the verified stream.
        pipeline(createReadStream(path), verified, signal ? { signal } : {}).catch(() => {});
        return verified;
      }),
    head: (key) =>
      typed(key, async () => {
        const found = await stat(pathOf(key)).catch(ignoreMissing);
        return found ? { sizeBytes: found.size } : null;
      }),
    list: (prefix) => typed(prefix, () => listUnder(root, prefix)),
    delete: (key) => typed(key, () => unlink(pathOf(key)).catch(ignoreMissing)),
    sweep: (begunBefore) => typed(partialFolder, () => sweepFolder(partials, begunBefore)),
  };
}

async function listUnder(root: string, prefix: string): Promise<Listed[]> {
  const all = await readdir(root, { recursive: true, withFileTypes: true }).catch(ignoreMissing);
  const paths = (all ?? [])
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .map((path) => ({ path, key: relative(root, path).replaceAll("\\", "/") }))
    .filter(({ key }) => key.startsWith(prefix) && !key.startsWith(`${partialFolder}/`));
  const listed = await Promise.all(
    paths.map(async ({ path, key }) => ({ key, sizeBytes: (await stat(path)).size })),
  );
  return listed.sort((a, b) => (a.key < b.key ? -1 : 1));
}

async function sweepFolder(folder: string, begunBefore: Date): Promise<number> {
  let swept = 0;
  for (const name of (await readdir(folder).catch(ignoreMissing)) ?? []) {
    const found = await stat(join(folder, name)).catch(ignoreMissing);
    if (!found || found.mtime >= begunBefore) continue;
    await unlink(join(folder, name)).catch(ignoreMissing);
    swept += 1;
  }
  return swept;
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, "r");
  await folder.sync().finally(() => folder.close());
}

function ignoreMissing(error: unknown): undefined {
  if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  return undefined;
}

const codeOfErrno: Readonly<Record<string, string>> = {
  EEXIST: "object-exists",
  ENOENT: "object-missing",
  ENOSPC: "disk-full",
  EDQUOT: "quota-full",
  EACCES: "repo-auth",
  EPERM: "repo-auth",
  EROFS: "repo-auth",
  EIO: "repo-unavailable",
};

async function typed<Result>(key: string, work: () => Promise<Result>): Promise<Result> {
  try {
    return await work();
  } catch (cause) {
    const code = codeOfErrno[(cause as NodeJS.ErrnoException).code ?? ""];
    throw code ? failureOf(code, `the vault's folder: ${code}, ${key}`, { cause }) : cause;
  }
}
