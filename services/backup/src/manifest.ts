/** The manifest of a recovery point: what it holds, whose it is, and a signature over all of it. Written last, so a point exists only when it is whole. */
import { createPublicKey, type KeyObject, sign, verify } from "node:crypto";
import { failureOf } from "@chom/shared/failure/failure";

/** A table and its rows as they are in the dump. */
export type TableRows = { name: string; rows: number };

/** One archive of a point. `plain` is the tar or SQL text, `stored` the encrypted object. */
export type Component = {
  name: "files" | "database";
  key: string;
  plainBytes: number;
  plainSha256: string;
  storedBytes: number;
  storedSha256: string;
  /** Entries of the tar, or tables of the dump. */
  entries: number;
  /** Only of a database, sorted by name. */
  tables: TableRows[];
  /** When reading it began, ISO 8601. */
  takenAt: string;
};

export type Manifest = {
  format: 1;
  backupId: string;
  tenant: string;
  siteId: string;
  kind: "full" | "files" | "database";
  components: Component[];
  /** Name to version of what wrote the archives and what they came from. */
  tools: Record<string, string>;
  /** Milliseconds between the database's state and the files' state. */
  gapMs: number;
  createdAt: string;
  finishedAt: string;
  /** Who can open the archives, as age recipients. */
  recipients: string[];
  site: {
    domain: string;
    kind: string;
    phpVersion: string;
    systemUser: string;
    rootPath: string;
    databaseName: string;
  };
};

const purpose = "chom backup manifest v1\n";
/** 10,000 tables with names of 64 characters stay below it. */
const manifestLimitBytes = 8 * 1024 * 1024;

/** The manifest as it is stored: canonical JSON with an ed25519 signature and the key's name beside it. */
export const signManifest = (manifest: Manifest, key: KeyObject): Buffer =>
  signDocument(purpose, manifest, key);

/** Any document as it is stored; a signature for one purpose is none for another. */
export function signDocument(purpose: string, manifest: object, key: KeyObject): Buffer {
  const signature = sign(null, signedBytes(purpose, manifest), key).toString("base64");
  return Buffer.from(`${canonicalJson({ keyId: keyIdOf(key), manifest, signature })}\n`);
}

/** Whose point a reader means to read. */
export type Owner = { tenant: string; siteId: string; backupId: string };

/**
 * Reads a stored manifest. Throws `manifest-invalid` when it is malformed or its signature is not by one of the keys,
 * `foreign-manifest` when it is genuine but belongs to another tenant, site or point.
 */
export function verifyManifest(bytes: Buffer, keys: readonly KeyObject[], owner: Owner): Manifest {
  const claimed = verifyDocument(purpose, bytes, keys) as Manifest;
  for (const name of ["tenant", "siteId", "backupId"] as const) {
    if (claimed[name] !== owner[name]) {
      throw failureOf("foreign-manifest", `the manifest belongs to another ${name}`);
    }
  }
  return claimed;
}

/** A stored document of this purpose, format 1, signed by one of the keys. Throws `manifest-invalid`. */
export function verifyDocument(
  purpose: string,
  bytes: Buffer,
  keys: readonly KeyObject[],
): { format: 1 } {
  const invalid = (why: string) => failureOf("manifest-invalid", `the manifest ${why}`);
  if (bytes.length > manifestLimitBytes) throw invalid("is too long");
  const text = bytes.toString("utf8");
  let outer: { keyId?: unknown; manifest?: unknown; signature?: unknown };
  try {
    outer = JSON.parse(text) as typeof outer;
  } catch (cause) {
    throw failureOf("manifest-invalid", "the manifest is no JSON", { cause });
  }
  const { manifest, signature, keyId } = outer ?? {};
  if (typeof manifest !== "object" || manifest === null || typeof signature !== "string") {
    throw invalid("lacks its parts");
  }
  // One text per meaning: nothing can hide in spaces, order or repeated keys.
  if (text !== `${canonicalJson({ keyId, manifest, signature })}\n`)
    throw invalid("is not in canonical form");
  const signed = Buffer.from(signature, "base64");
  if (signed.toString("base64") !== signature) throw invalid("has a malformed signature");
  const key = keys.find((known) => keyIdOf(known) === keyId);
  if (!key) throw invalid("is signed by an unknown key");
  if (!verify(null, signedBytes(purpose, manifest), createPublicKeyOf(key), signed)) {
    throw invalid("has a wrong signature");
  }
  const claimed = manifest as { format: 1 };
  if (claimed.format !== 1) throw invalid(`has the unknown format ${String(claimed.format)}`);
  return claimed;
}

/** JSON with sorted keys and no spaces. */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(",")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const fields = Object.entries(value)
    .filter(([, field]) => field !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, field]) => `${JSON.stringify(name)}:${canonicalJson(field)}`);
  return `{${fields.join(",")}}`;
}

const signedBytes = (purpose: string, manifest: object): Buffer =>
  Buffer.from(`${purpose}${canonicalJson(manifest)}`);

const createPublicKeyOf = (key: KeyObject): KeyObject =>
  key.type === "public" ? key : createPublicKey(key);

/** Short name of a signing key: the start of its public part. */
function keyIdOf(key: KeyObject): string {
  const raw = createPublicKeyOf(key).export({ format: "der", type: "spki" });
  return raw.subarray(-32).toString("base64url").slice(0, 16);
}
