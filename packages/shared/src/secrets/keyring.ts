/**
 * Root keys from a file, and the Sealer that derives tenants' keys from them: how everything was sealed before tenants had
 * keys of their own (tenant-keys.ts). It opens what is still sealed so, and seals where one process is all there is.
 */
import { createHash, createHmac, type KeyObject } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import { operator } from "../failure/failure.ts";
import { bound, derivedKey, keyBytes, openBytes, type Random, sealBytes } from "./aead.ts";
import { Secret } from "./secret.ts";
import type { SealedBytes, Sealer } from "./sealer.ts";

/** A random 256-bit key has fewer different byte values than this about once in 10^20 keys. */
const leastDifferentBytes = 12;

export type RootKey = { readonly keyId: string; readonly key: Secret<Buffer> };

const derive = (root: RootKey, purpose: string, tenant: string): KeyObject =>
  derivedKey(root.key.reveal(), [tenant, purpose]);

/**
 * A Sealer over root keys, newest first: the first one seals, all of them open, the last (oldest) one makes
 * fingerprints, so that these stay comparable when a new root is added in front. `random` gives the nonces.
 */
export function keyring(roots: readonly RootKey[], random: Random): Sealer {
  const newest = roots[0];
  const oldest = roots.at(-1);
  if (!newest || !oldest) throw operator("key-missing", "the keyring holds no root key");
  const cache = new Map<string, KeyObject>();
  const keyOf = (root: RootKey, purpose: string, tenant: string): KeyObject => {
    const name = `${root.keyId} ${purpose} ${tenant}`;
    const found = cache.get(name) ?? derive(root, purpose, tenant);
    if (cache.size > 4096) cache.clear();
    cache.set(name, found);
    return found;
  };
  return {
    ready: () => undefined,
    seal(tenant, context, plain): SealedBytes {
      const key = keyOf(newest, "seal", tenant);
      const aad = bound([tenant, ...context]);
      return { keyId: newest.keyId, ciphertext: sealBytes(key, aad, plain, random) };
    },
    open(tenant, context, sealed) {
      const root = roots.find(({ keyId }) => keyId === sealed.keyId);
      if (!root) throw operator("key-missing", `no root key "${sealed.keyId}" in the key file`);
      return openBytes(keyOf(root, "seal", tenant), bound([tenant, ...context]), sealed.ciphertext);
    },
    fingerprint: (tenant, bytes) =>
      createHmac("sha256", keyOf(oldest, "fingerprint", tenant))
        .update(bytes)
        .digest("hex"),
  };
}

const linePattern = /^(?:([a-z0-9][a-z0-9-]{0,31})[ \t]+)?([A-Za-z0-9+/]{43}=)$/;

/** A root key that nobody would get by chance: all zeros, repeated patterns, counting bytes. */
function isWeak(key: Buffer): boolean {
  if (new Set(key).size < leastDifferentBytes) return true;
  const step = ((key[1] ?? 0) - (key[0] ?? 0)) & 0xff;
  return key.every((byte, at) => at === 0 || ((byte - (key[at - 1] ?? 0)) & 0xff) === step);
}

/**
 * Reads lines `<keyId> <32 bytes base64>`, newest first; empty lines and lines beginning with # are skipped. Without a
 * key id the id is the first half of the key's hash. Throws Failure `operator` "weak-root-key" or "key-file-invalid",
 * naming the line and never its content.
 */
export function parseRootKeys(text: string): readonly RootKey[] {
  const roots = text.split(/\r?\n/).flatMap((line, at) => {
    const content = line.trim();
    return content === "" || content.startsWith("#") ? [] : [parseLine(content, at + 1)];
  });
  if (roots.length === 0) throw operator("key-file-invalid", "the root key file holds no key");
  if (new Set(roots.map(({ keyId }) => keyId)).size !== roots.length) {
    throw operator("key-file-invalid", "a key id occurs twice in the root key file");
  }
  return roots;
}

function parseLine(line: string, number: number): RootKey {
  const [, keyId, encoded] = linePattern.exec(line) ?? [];
  const key = Buffer.from(encoded ?? "", "base64");
  if (key.length !== keyBytes) {
    throw operator("key-file-invalid", `line ${number} is not "<keyId> <32 bytes in base64>"`);
  }
  if (isWeak(key)) {
    const remedy = "make one with: openssl rand -base64 32";
    throw operator("weak-root-key", `the key in line ${number} is not random; ${remedy}`);
  }
  const hash = createHash("sha256").update(key).digest("hex");
  return { keyId: keyId ?? `r-${hash.slice(0, 16)}`, key: new Secret(key) };
}

/** Refuses a secret's file that others than its owner can read; group is allowed, because mounted secrets use it. */
export function readPrivateFile(path: string): string {
  const { mode } = statSync(path);
  if ((mode & 0o007) !== 0) {
    const remedy = `chmod 600 ${path}, and replace what is in it if others could have read it`;
    throw operator("key-file-exposed", `everyone may read ${path}: ${remedy}`);
  }
  return readFileSync(path, "utf8");
}

/** The root keys of a file that only its owner (and group) may read. */
export const readRootKeys = (path: string): readonly RootKey[] =>
  parseRootKeys(readPrivateFile(path));
