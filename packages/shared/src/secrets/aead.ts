/** AES-256-GCM with bound context, and keys derived from keys: what every sealed thing of CHOM is made with. */
import {
  createCipheriv,
  createDecipheriv,
  createSecretKey,
  hkdfSync,
  type KeyObject,
} from "node:crypto";
import { permanent } from "../failure/failure.ts";

/** Of every key: 256 bits. */
export const keyBytes = 32;
const nonceBytes = 12;
const tagBytes = 16;
const lengthBytes = 4;

export type Random = (bytes: number) => Buffer;

/** Lengths before the parts: ["ab","c"] and ["a","bc"] authenticate differently. */
export function bound(parts: readonly string[]): Buffer {
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
export const derivedKey = (from: KeyObject | Buffer, info: readonly string[]): KeyObject =>
  createSecretKey(Buffer.from(hkdfSync("sha256", from, "", bound(info), keyBytes)));

/** Nonce, ciphertext and tag, in this order; a random nonce is safe for 2^32 texts under one key. */
export function sealBytes(key: KeyObject, context: Buffer, plain: Buffer, random: Random): Buffer {
  const nonce = random(nonceBytes);
  const cipher = createCipheriv("aes-256-gcm", key, nonce);
  cipher.setAAD(context);
  const body = cipher.update(plain);
  const rest = cipher.final();
  return Buffer.concat([nonce, body, rest, cipher.getAuthTag()]);
}

/** Failure `permanent` "seal-broken" when a byte of key, context or box differs. */
export function openBytes(key: KeyObject, context: Buffer, bytes: Buffer): Buffer {
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
