/** Bech32 (BIP 173 without its length limit): the text form of age recipients and identities. */
import { failureOf } from "../failure/failure.ts";

const alphabet = "qpzry9x8gf2tvdw0s3jn54khce6mua7l";
const generator = [0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3];
const checksumLength = 6;

/** Encodes bytes under a lower-case prefix; the result is lower-case. */
export function encodeBech32(prefix: string, bytes: Uint8Array): string {
  const words = regroup(bytes, 8, 5, true);
  const sum = polymod([...spread(prefix), ...words, ...Array<number>(checksumLength).fill(0)]) ^ 1;
  const check = Array.from({ length: checksumLength }, (_, at) => (sum >>> (5 * (5 - at))) & 31);
  return `${prefix}1${[...words, ...check].map((word) => alphabet[word]).join("")}`;
}

/**
 * Decodes text whose prefix must be exactly `prefix`, in that case throughout.
 * Throws `invalid-config`; the text is never quoted, because it may be a secret.
 */
export function decodeBech32(text: string, prefix: string): Buffer {
  const isUpper = prefix === prefix.toUpperCase();
  if (text !== (isUpper ? text.toUpperCase() : text.toLowerCase())) throw bad("mixes cases");
  const split = text.lastIndexOf("1");
  if (text.slice(0, Math.max(split, 0)) !== prefix) throw bad(`does not begin with ${prefix}1`);
  const lower = text.toLowerCase();
  const words = [...lower.slice(split + 1)].map((letter) => alphabet.indexOf(letter));
  if (words.includes(-1)) throw bad("has a character outside its alphabet");
  if (words.length < checksumLength) throw bad("is too short");
  if (polymod([...spread(prefix.toLowerCase()), ...words]) !== 1) throw bad("has a wrong checksum");
  return Buffer.from(regroup(words.slice(0, -checksumLength), 5, 8, false));
}

const bad = (why: string) => failureOf("invalid-config", `a backup key's text ${why}`);

const spread = (prefix: string): number[] => {
  const points = [...prefix].map((letter) => letter.charCodeAt(0));
  return [...points.map((point) => point >> 5), 0, ...points.map((point) => point & 31)];
};

function polymod(words: readonly number[]): number {
  let sum = 1;
  for (const word of words) {
    const top = sum >>> 25;
    sum = ((sum & 0x1ffffff) << 5) ^ word;
    for (const [bit, term] of generator.entries()) if ((top >>> bit) & 1) sum ^= term;
  }
  return sum >>> 0;
}

function regroup(from: Iterable<number>, width: number, target: number, pad: boolean): number[] {
  const out: number[] = [];
  let held = 0;
  let bits = 0;
  for (const value of from) {
    held = (held << width) | value;
    bits += width;
    for (; bits >= target; held &= (1 << bits) - 1) {
      bits -= target;
      out.push(held >>> bits);
    }
  }
  if (pad && bits > 0) out.push(held << (target - bits));
  if (!pad && (bits >= width || held !== 0)) throw bad("has bits left over");
  return out;
}
