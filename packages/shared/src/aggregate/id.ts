/** Ids: 26 characters of lower-case base32, or what a caller chose within the same small alphabet. */
import { hash } from "node:crypto";

const alphabet = "0123456789abcdefghjkmnpqrstvwxyz";
const idLength = 26;
const idPattern = /^[a-z0-9][a-z0-9-]{0,63}$/;

/** True for 1 to 64 characters of a-z, 0-9 and dash that begin with no dash: safe in subjects, paths and SQL. */
export const isId = (text: string): boolean => idPattern.test(text);

/** The first 26 characters of the bytes, of which there must be 17 or more. */
function base32(bytes: Uint8Array): string {
  const codes = Buffer.allocUnsafe(idLength);
  let bits = 0;
  let value = 0;
  let length = 0;
  for (const byte of bytes) {
    value = ((value << 8) | byte) & 0xffff;
    bits += 8;
    while (bits >= 5 && length < idLength) {
      bits -= 5;
      codes[length] = alphabet.charCodeAt((value >> bits) & 31);
      length += 1;
    }
  }
  return codes.toString("latin1");
}

/** The same parts always give the same id; parts are length-prefixed, so ["ab","c"] and ["a","bc"] differ. */
export function hashId(...parts: readonly (string | number)[]): string {
  let all = "";
  for (const part of parts) {
    const text = String(part);
    all += `${Buffer.byteLength(text)}:${text}`;
  }
  return base32(hash("sha256", all, "buffer"));
}

/** A new id that sorts by time: 48 bits of milliseconds, then 80 random bits (at least 10 bytes are needed). */
export function timeId(now: Date, random: Uint8Array): string {
  if (random.length < 10) throw new RangeError("timeId needs 10 random bytes");
  const bytes = new Uint8Array(17);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, Math.floor(now.getTime() / 0x1_0000));
  view.setUint16(4, now.getTime() % 0x1_0000);
  bytes.set(random.subarray(0, 10), 6);
  return base32(bytes);
}
