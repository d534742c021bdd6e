/** The keyring: root keys from a file, one data key per tenant derived from them, AES-256-GCM with bound context. */
import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createHmac,
  createSecretKey,
  hkdfSync,
  type KeyObject,
} from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import { operator, permanent } from "../failure/failure.ts";
import { Secret } from "./secret.ts";
import type { SealedBytes, Sealer } from "./sealer.ts";

const rootBytes = 32;
const nonceBytes = 12;
const tagBytes = 16;
const lengthBytes = 4;
/** A random 256-bit key has fewer different byte values than this about once in 10^20 keys. */
const leastDifferentBytes = 12;

export type RootKey = { readonly keyId: string; readonly key: Secret<Buffer> };

/** Lengths before the parts: ["ab","c"] and ["a","bc"] authenticate differently. */
function bound(tenant: string, context: readonly string[]): Buffer {
  const parts = [tenant, ...context];
  const sizes = parts.map((part) => Buffer.byteLength(part));
  const all = Buffer.alloc(sizes.reduce((sum, size) => sum + lengthBytes + size, 0));
  let at = 0;
  for (const [index, part] of parts.entries()) {
    at = all.writeUInt32BE(sizes[index] ?? 0, at);
    at += all.write(part, at);
  }
  return all;
}

/** As a key object: bytes would be made into one again at every use, which costs more than sealing a small text. */
function derive(root: RootKey, purpose: string, tenant: string): KeyObject {
  const info = bound(tenant, [purpose]);
  const bytes = Buffer.from(hkdfSync("sha256", root.key.reveal(), "", info, rootBytes));
  return createSecretKey(bytes);
}

/**
 * A Sealer over root keys, newest first: the first one seals, all of them open, the last (oldest) one makes
 * fingerprints, so that these stay comparable when a new root is added in front. `random` gives the nonces.
 */
export function keyring(roots: readonly RootKey[], random: (bytes: number) => Buffer): Sealer {
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
    seal(tenant, context, plain): SealedBytes {
      const nonce = random(nonceBytes);
      const cipher = createCipheriv("aes-256-gcm", keyOf(newest, "seal", tenant), nonce);
      cipher.setAAD(bound(tenant, context));
      const body = Buffer.concat([cipher.update(plain), cipher.final()]);
      return {
        keyId: newest.keyId,
        ciphertext: Buffer.concat([nonce, body, cipher.getAuthTag()]),
      };
    },
    open(tenant, context, sealed) {
      const root = roots.find(({ keyId }) => keyId === sealed.keyId);
      if (!root) throw operator("key-missing", `no root key "${sealed.keyId}" in the key file`);
      return unseal(keyOf(root, "seal", tenant), bound(tenant, context), sealed.ciphertext);
    },
    fingerprint: (tenant, bytes) =>
      createHmac("sha256", keyOf(oldest, "fingerprint", tenant))
        .update(bytes)
        .digest("hex"),
  };
}

function unseal(key: KeyObject, context: Buffer, bytes: Buffer): Buffer {
  if (bytes.length < nonceBytes + tagBytes) {
    throw permanent("seal-broken", "sealed bytes are too short");
  }
  const decipher = createDecipheriv("aes-256-gcm", key, bytes.subarray(0, nonceBytes), {
    authTagLength: tagBytes,
  });
  decipher.setAAD(context);
  decipher.setAuthTag(bytes.subarray(bytes.length - tagBytes));
  try {
    const body = bytes.subarray(nonceBytes, bytes.length - tagBytes);
    return Buffer.concat([decipher.update(body), decipher.final()]);
  } catch (cause) {
    throw permanent("seal-broken", "sealed bytes do not belong to this tenant and context", {
      cause,
    });
  }
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
  if (key.length !== rootBytes) {
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
