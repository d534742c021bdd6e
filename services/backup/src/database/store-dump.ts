/** One dump on its way into the vault, read back, and brought back into a scratch database as a proof. */
import { createHash } from "node:crypto";
import { Readable, Writable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { hashId } from "@chom/shared/aggregate/id";
import { failureOf } from "@chom/shared/failure/failure";
import { ageEncrypt } from "@chom/shared/age/age-stream";
import { openArchive, type StoredStream, storeStream } from "../archive.ts";
import type { Location } from "./database-backups.ts";
import { type DatabaseDeps, toolsOf, vaultAt, withFolder } from "./database-deps.ts";
import { type DatabaseManifest, signDatabaseManifest } from "./database-manifest.ts";
import type { DatabaseSource } from "./database-sources.ts";
import type { Counted } from "./database-tools.ts";

export type StoredDump = StoredStream & Counted & { tool: string; takenAt: string };
type Sealed = { location: Location; isEncrypted: boolean };

/** Compresses badly, still fits into its parts. */
const spare = 1.1;

/** Streams a dump of the source into an object `<folder><name>.zst[.age]`. Throws `key-missing` without a recipient. */
export async function storeDump(
  deps: DatabaseDeps,
  source: DatabaseSource,
  wish: Sealed & { folder: string; takenAt: Date; signal: AbortSignal },
): Promise<StoredDump> {
  const { folder, takenAt, signal, isEncrypted } = wish;
  if (isEncrypted && deps.keys.recipients.length === 0) {
    throw failureOf("key-missing", "there is no key to encrypt the backup with");
  }
  const { dump, fileName } = toolsOf(source.place.engine);
  return withFolder(deps, signal, async (use) => {
    const dumping = await dump(source.place, use);
    const { stream, watching, counted, tool } = dumping;
    const stored = await storeStream({
      ...{ source: stream, watching, counted, signal },
      vault: vaultAt(deps, wish.location),
      key: `${folder}${fileName}.zst${isEncrypted ? ".age" : ""}`,
      ...(isEncrypted ? { seal: ageEncrypt(deps.keys.recipients) } : {}),
      estimatedBytes: dumping.estimatedBytes * spare,
    });
    return { ...stored, ...counted(), tool, takenAt: takenAt.toISOString() };
  });
}

/** The plain bytes of a stored dump, proven only when the stream ends without error. */
export const openDump = (
  deps: DatabaseDeps,
  component: StoredStream,
  { location, isEncrypted }: Sealed,
  signal: AbortSignal,
): Promise<Readable> =>
  openArchive({
    ...{ component, signal, isSealed: isEncrypted, keys: deps.keys },
    vault: vaultAt(deps, location),
  });

/** Reads all of it back: every hash must be as it was stored. */
export async function readBack(
  deps: DatabaseDeps,
  dump: StoredStream,
  sealed: Sealed,
  signal: AbortSignal,
): Promise<void> {
  const nowhere = new Writable({ write: (_data, _encoding, done) => done() });
  await pipeline(await openDump(deps, dump, sealed, signal), nowhere, { signal });
}

/**
 * Restores into a scratch database and counts: false when the program for that is not here. The scratch database is
 * gone afterwards. Throws `restore-verification-failed` when tables or rows differ.
 */
export async function testRestore(
  deps: DatabaseDeps,
  source: DatabaseSource,
  dump: StoredDump,
  wish: Sealed & { runId: string; signal: AbortSignal },
): Promise<boolean> {
  const { engine } = source.place;
  const tools = toolsOf(engine);
  return withFolder(deps, wish.signal, async (use) => {
    if (!tools.canRestore(use)) return false;
    const scratch = source.scratch ?? source.place;
    const place = engine === "sqlite" ? { ...scratch, database: `${use.folder}/x` } : scratch;
    // The same name again when the run comes back, so that what a dead attempt left goes first.
    const name = `chom_test_${hashId(wish.runId).slice(0, 16)}`;
    await tools.drop(place, name, use);
    try {
      await tools.create(place, name, use);
      await tools.restore(place, name, await openDump(deps, dump, wish, wish.signal), use);
      mustBeSame(dump, await tools.count(place, name, use));
    } finally {
      await tools.drop(place, name, { ...use, signal: new AbortController().signal });
    }
    return true;
  });
}

/** Throws `restore-verification-failed`. */
export function mustBeSame(wanted: Counted, found: Counted): void {
  if (wanted.tables === found.tables && wanted.rows === found.rows) return;
  const said = ({ tables, rows }: Counted) => `${tables} tables with ${rows} rows`;
  const message = `the dump has ${said(wanted)}, restored are ${said(found)}`;
  throw failureOf("restore-verification-failed", message);
}

/** Stores the signed manifest: only with it the backup exists. */
export async function storeDatabaseManifest(
  deps: DatabaseDeps,
  manifest: DatabaseManifest,
  { location, folder, signal }: { location: Location; folder: string; signal: AbortSignal },
): Promise<{ key: string; sha256: string }> {
  const bytes = signDatabaseManifest(manifest, deps.keys.signingKeys[0]);
  const key = `${folder}manifest.json`;
  const size = { estimatedBytes: bytes.length };
  await vaultAt(deps, location).put(key, Readable.from([bytes]), { ...size, signal });
  return { key, sha256: createHash("sha256").update(bytes).digest("hex") };
}
