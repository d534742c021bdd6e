/** Archives on their way to and from the vault: compressed, encrypted, hashed on both sides, never whole in memory. */
import { PassThrough, type Readable, type Transform, Writable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { constants, createZstdCompress, createZstdDecompress } from "node:zlib";
import { Failure, failureOf } from "@chom/shared/failure/failure";
import { ageDecrypt, ageEncrypt } from "@chom/shared/age/age-stream";
import type { BackupKeys } from "./backup-keys.ts";
import { inspectDump } from "./dump-inspect.ts";
import type { Component, TableRows } from "./manifest.ts";
import { inspectTar } from "./tar-inspect.ts";
import { measure, type Vault, verifying } from "./vault.ts";

/** What one archive turned out to be; a type, so that a step may remember it. */
export type Archived = {
  key: string;
  plainBytes: number;
  plainSha256: string;
  storedBytes: number;
  storedSha256: string;
  entries: number;
  tables: TableRows[];
};

export type ArchiveName = Component["name"];

const compressionLevel = 3;

/** Counts while bytes pass; `counted` throws when what passed was not whole. */
function watch(name: ArchiveName) {
  if (name === "files") {
    const { stream, census } = inspectTar();
    return { stream, counted: () => ({ entries: census().entries, tables: [] as TableRows[] }) };
  }
  const { stream, census } = inspectDump();
  const counted = () => {
    const { tables, isComplete } = census();
    if (!isComplete) throw failureOf("dump-incomplete", "the dump ends without its last line");
    return { entries: tables.length, tables };
  };
  return { stream, counted };
}

/** What was stored of a stream, and where. */
export type StoredStream = Omit<Archived, "entries" | "tables">;

type Storing = {
  vault: Vault;
  key: string;
  source: Readable;
  /** Looks at the plain bytes; `counted` throws when they were not whole. */
  watching: Transform;
  counted: () => void;
  /** Encrypts; left out, the object is only compressed. */
  seal?: Transform;
  estimatedBytes?: number;
  signal: AbortSignal;
};

/**
 * Compresses, seals and stores a stream under a new key. Nothing is there when it throws: what `counted` throws, the
 * source's own failure, or the vault's.
 */
export async function storeStream(options: Storing): Promise<StoredStream> {
  const { vault, key, source, watching, counted, signal } = options;
  const plain = measure();
  const level = { [constants.ZSTD_c_compressionLevel]: compressionLevel };
  const sealed = options.seal ?? new PassThrough();
  const flow = pipeline(
    [source, watching, plain.stream, createZstdCompress({ params: level }), sealed],
    { signal },
  );
  const { estimatedBytes } = options;
  const size = estimatedBytes === undefined ? {} : { estimatedBytes };
  // Whichever side fails first takes the other with it; both are awaited, so neither goes unheard.
  const [stored, flowed] = await Promise.allSettled([
    vault.put(key, sealed, { ...size, signal }),
    flow,
  ]);
  try {
    if (flowed.status === "rejected" && stored.status === "rejected") {
      throw stored.reason instanceof Failure ? stored.reason : flowed.reason;
    }
    if (flowed.status === "rejected") throw flowed.reason;
    if (stored.status === "rejected") throw stored.reason;
    const { sizeBytes: plainBytes, sha256: plainSha256 } = plain.measured();
    const { sizeBytes: storedBytes, sha256: storedSha256 } = stored.value;
    counted();
    return { key, plainBytes, plainSha256, storedBytes, storedSha256 };
  } catch (error) {
    if (stored.status === "fulfilled") await vault.delete(key).catch(() => {});
    throw error;
  }
}

/**
 * Stores what a server sends under a new key. Nothing is there when it throws: `dump-incomplete`, `archive-unsafe`,
 * the source's own failure, or the vault's.
 */
export async function storeArchive(options: {
  vault: Vault;
  keys: BackupKeys;
  name: ArchiveName;
  key: string;
  source: Readable;
  estimatedBytes: number;
  signal: AbortSignal;
}): Promise<Archived> {
  const { keys, name, ...rest } = options;
  const { stream: watching, counted } = watch(name);
  const seal = ageEncrypt(keys.recipients);
  const stored = await storeStream({ ...rest, watching, counted, seal });
  return { ...stored, ...counted() };
}

/**
 * The plain bytes of an archive. They are proven only when the stream ends without error: `checksum-mismatch`,
 * `archive-not-authentic`, `object-missing`. Stops as soon as more comes out than the manifest says.
 */
export async function openArchive(options: {
  vault: Vault;
  keys: BackupKeys;
  component: StoredStream;
  /** False for an object that was stored without encryption. */
  isSealed?: boolean;
  signal: AbortSignal;
}): Promise<Readable> {
  const { vault, keys, component, signal, isSealed = true } = options;
  const stored = { sizeBytes: component.storedBytes, sha256: component.storedSha256 };
  const sealed = await vault.get(component.key, stored, signal);
  const plain = verifying(component.key, {
    sizeBytes: component.plainBytes,
    sha256: component.plainSha256,
  });
  const unpack = createZstdDecompress();
  unpack.on("error", (cause: NodeJS.ErrnoException) => {
    // A pipeline also destroys streams that have done their work, with errors that mean nothing.
    if (cause instanceof Failure || /^(?:ERR_STREAM|ABORT_ERR)/.test(cause.code ?? "")) return;
    plain.destroy(failureOf("checksum-mismatch", "the archive cannot be unpacked", { cause }));
  });
  const unseal = isSealed ? ageDecrypt(keys.identities) : new PassThrough();
  // The error reaches the reader through the last stream.
  pipeline([sealed, unseal, unpack, plain], { signal }).catch(() => {});
  return plain;
}

/** Reads an archive to its end and compares it with the manifest; answers the bytes read from the vault. */
export async function checkArchive(options: {
  vault: Vault;
  keys: BackupKeys;
  component: Component;
  signal: AbortSignal;
}): Promise<number> {
  const { component, signal } = options;
  const { stream, counted } = watch(component.name);
  const nowhere = new Writable({ write: (_data, _encoding, done) => done() });
  await pipeline(await openArchive(options), stream, nowhere, { signal });
  const { entries, tables } = counted();
  const isSame =
    entries === component.entries &&
    JSON.stringify(tables) === JSON.stringify(component.tables.map(plainRows));
  if (!isSame) throw failureOf("checksum-mismatch", "the archive holds another number of things");
  return component.storedBytes;
}

/** Field order of a manifest is canonical, that of a census is not. */
const plainRows = ({ name, rows }: TableRows): TableRows => ({ name, rows });
