/** What is strong enough for an SSH connection, and how pinned host keys choose among it. */
import type ssh2 from "ssh2";
import { failureOf } from "../failure/failure.ts";

// Security page, (d) 8: curve25519; ed25519, ECDSA and RSA with SHA-2; authenticated ciphers only; no compression.
export const hostKeyAlgorithms: Readonly<Record<string, readonly ssh2.ServerHostKeyAlgorithm[]>> = {
  "ssh-ed25519": ["ssh-ed25519"],
  "ecdsa-sha2-nistp256": ["ecdsa-sha2-nistp256"],
  "ecdsa-sha2-nistp384": ["ecdsa-sha2-nistp384"],
  "ecdsa-sha2-nistp521": ["ecdsa-sha2-nistp521"],
  "ssh-rsa": ["rsa-sha2-512", "rsa-sha2-256"],
};

export const algorithms = {
  kex: ["curve25519-sha256", "curve25519-sha256@libssh.org"] as string[],
  cipher: [
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "chacha20-poly1305@openssh.com",
  ] as string[],
  // Never in use, for all three ciphers authenticate by themselves; the client library wants a list all the same.
  hmac: ["hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com"] as string[],
  compress: ["none"] as string[],
};

export type Pin = { readonly type: string; readonly blob: Buffer };

/** The parts of an OpenSSH public key line; Failure `invalid-config` when it is none. */
export function parsePublicKeyLine(line: string): Pin {
  const [type = "", encoded = ""] = line.trim().split(/\s+/);
  const blob = Buffer.from(encoded, "base64");
  const named =
    blob.length > 4 ? blob.subarray(4, 4 + blob.readUInt32BE(0)).toString("latin1") : "";
  if (type === "" || named !== type) {
    throw failureOf("invalid-config", "a public key line is not `type base64`");
  }
  return { type, blob };
}

/** Pinned kinds come first, so that a server with several keys shows the one that is known. */
export function hostKeyOrder(pins: readonly Pin[]): ssh2.ServerHostKeyAlgorithm[] {
  const pinned = pins.flatMap(({ type }) => hostKeyAlgorithms[type] ?? []);
  return [...new Set([...pinned, ...Object.values(hostKeyAlgorithms).flat()])];
}

/** An OpenSSH line of a key as it came over the wire. */
export const lineOf = (blob: Buffer): string => {
  const end = blob.length > 4 ? 4 + blob.readUInt32BE(0) : 0;
  return `${blob.subarray(4, end).toString("latin1")} ${blob.toString("base64")}`;
};

// What OpenSSH itself still accepts by default is 1024; ssh-keygen made 2048 until version 8, 3072 since.
const minRsaBits = 2_048;

/** Whether a key is an RSA key shorter than 2048 bits. */
export function isShortRsa(blob: Buffer): boolean {
  const fields: Buffer[] = [];
  for (let at = 0; at + 4 <= blob.length && fields.length < 3; ) {
    const end = at + 4 + blob.readUInt32BE(at);
    fields.push(blob.subarray(at + 4, end));
    at = end;
  }
  if (fields[0]?.toString("latin1") !== "ssh-rsa") return false;
  const modulus = fields[2] ?? Buffer.alloc(0);
  const first = modulus.findIndex((byte) => byte !== 0);
  if (first < 0) return true;
  const bits = (modulus.length - first) * 8 - Math.clz32(modulus[first] ?? 0) + 24;
  return bits < minRsaBits;
}
