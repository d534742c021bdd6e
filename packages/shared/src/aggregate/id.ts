/** Ids: 26 characters of lower-case base32, or what a caller chose within the same small alphabet. */
import { createHash } from "node:crypto";

const alphabet = "0123456789abcdefghjkmnpqrstvwxyz";
const idPattern = /^[a-z0-9][a-z0-9-]{0,63}$/;

/** True for 1 to 64 characters of a-z, 0-9 and dash that begin with no dash: safe in subjects, paths and SQL. */
export const isId = (text: string): boolean => idPattern.test(text);

function base32(bytes: Uint8Array, length: number): string {
  let text = "";
  let bits = 0;
  let value = 0;
  for (const byte of bytes) {
    value = ((value << 8) | byte) & 0xffff;
    bits += 8;
    while (bits >= 5 && text.length < length) {
      bits -= 5;
      text += alphabet.charAt((value >> bits) & 31);
    }
  }
  return text;
}

/** The same parts always give the same id; parts are length-prefixed, so ["ab","c"] and ["a","bc"] differ. */
export function hashId(...parts: readonly (string | number)[]): string {
  const hash = createHash("sha256");
  for (const part of parts) {
    const text = String(part);
    hash.update(`${Buffer.byteLength(text)}:${text}`);
  }
  return base32(hash.digest(), 26);
}

/** A new id that sorts by time: 48 bits of milliseconds, then 80 random bits (at least 10 bytes are needed). */
export function timeId(now: Date, random: Uint8Array): string {
  if (random.length < 10) throw new RangeError("timeId needs 10 random bytes");
  const bytes = new Uint8Array(17);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(now.getTime()) << 16n);
  bytes.set(random.subarray(0, 10), 6);
  return base32(bytes, 26);
}
