/**
 * The keys of an age v1 file (X25519 recipients) with node:crypto only, so that the stock `age` tool opens what
 * we write and we open what it writes. Format: age-encryption.org/v1.
 */
import crypto from "node:crypto";
import { failureOf } from "../failure/failure.ts";
import { Secret } from "../secrets/secret.ts";
import {
  base64,
  notAuthentic,
  parseHeader,
  type Stanza,
  unbase64,
  writeHeader,
} from "./age-header.ts";
import { decodeBech32, encodeBech32 } from "./bech32.ts";

const recipientPrefix = "age";
const identityPrefix = "AGE-SECRET-KEY-";
const x25519Info = "age-encryption.org/v1/X25519";
const keyBytes = 32;
const fileKeyBytes = 16;
const tagBytes = 16;
const cipher = "chacha20-poly1305";
// RFC 8410: what stands before the 32 raw bytes in the two key encodings that node:crypto reads.
const publicKeyPrefix = Buffer.from("302a300506032b656e032100", "hex");
const privateKeyPrefix = Buffer.from("302e020100300506032b656e04220420", "hex");

/** A key pair for backups: the recipient may be known to all, the identity opens every archive made for it. */
export type AgeKeyPair = { recipient: string; identity: Secret };

/** Makes a new key pair, in the text forms of `age-keygen`. */
export function makeAgeKeyPair(): AgeKeyPair {
  const { publicKey, privateKey } = crypto.generateKeyPairSync("x25519");
  const raw = privateKey.export({ format: "der", type: "pkcs8" }).subarray(-keyBytes);
  const identity = encodeBech32(identityPrefix.toLowerCase(), raw).toUpperCase();
  return {
    recipient: encodeBech32(recipientPrefix, rawOf(publicKey)),
    identity: new Secret(identity),
  };
}

/** The recipient that belongs to an identity. Throws `invalid-config` on malformed text. */
export const recipientOf = (identity: Secret): string =>
  encodeBech32(recipientPrefix, rawOf(crypto.createPublicKey(privateKeyOf(identity))));

/** A fresh file key sealed for every recipient (1 to 20). The header ends with its line feed. */
export function sealFileKey(recipients: readonly string[]): {
  header: Buffer;
  fileKey: Buffer;
} {
  if (recipients.length === 0 || recipients.length > 20) {
    throw failureOf(
      "invalid-config",
      `an archive needs 1 to 20 recipients, got ${recipients.length}`,
    );
  }
  const fileKey = crypto.randomBytes(fileKeyBytes);
  const signed = writeHeader(recipients.map((recipient) => sealFor(recipient, fileKey)));
  const header = Buffer.concat([signed, Buffer.from(` ${base64(macOf(fileKey, signed))}\n`)]);
  return { header, fileKey };
}

/** The file key of a header for one of the identities. Throws `archive-not-authentic`, also for a foreign recipient. */
export function openFileKey(headerBytes: Buffer, identities: readonly Secret[]): Buffer {
  const { stanzas, signed, mac } = parseHeader(headerBytes);
  if (stanzas.length > 1 && stanzas.some(({ type }) => type === "scrypt")) {
    throw notAuthentic("mixes a passphrase with other recipients");
  }
  const mine = stanzas.filter(({ type }) => type === "X25519").map(checkShape);
  for (const identity of identities) {
    const privateKey = privateKeyOf(identity);
    for (const stanza of mine) {
      const fileKey = openWith(privateKey, stanza);
      if (fileKey === undefined) continue;
      if (crypto.timingSafeEqual(macOf(fileKey, signed), mac)) return fileKey;
      throw notAuthentic("has a header whose MAC is wrong");
    }
  }
  throw notAuthentic("was not made for any of the given identities");
}

/** The key of the payload, from the file key and the 16 bytes after the header. */
export const payloadKey = (fileKey: Buffer, nonce: Buffer): Buffer =>
  hkdf(fileKey, nonce, "payload");

/** Encrypts one message and appends its tag. */
export function seal(key: Buffer, nonce: Buffer, plain: Buffer): Buffer {
  const sealing = crypto.createCipheriv(cipher, key, nonce, {
    authTagLength: tagBytes,
  });
  return Buffer.concat([sealing.update(plain), sealing.final(), sealing.getAuthTag()]);
}

/** Decrypts what `seal` made, or gives undefined when it is not authentic. */
export function unseal(key: Buffer, nonce: Buffer, sealed: Buffer): Buffer | undefined {
  if (sealed.length < tagBytes) return undefined;
  const opening = crypto.createDecipheriv(cipher, key, nonce, {
    authTagLength: tagBytes,
  });
  opening.setAuthTag(sealed.subarray(-tagBytes));
  const plain = opening.update(sealed.subarray(0, -tagBytes));
  try {
    opening.final();
    return plain;
  } catch {
    return undefined;
  }
}

type X25519Stanza = { share: Buffer; sealed: Buffer };

function checkShape({ args, body }: Stanza): X25519Stanza {
  const share = unbase64(args[0] ?? "");
  if (args.length !== 1 || share.length !== keyBytes || body.length !== fileKeyBytes + tagBytes) {
    throw notAuthentic("has a malformed X25519 recipient");
  }
  return { share, sealed: body };
}

function sealFor(recipient: string, fileKey: Buffer): Stanza {
  const theirs = decodeBech32(recipient, recipientPrefix);
  const { publicKey, privateKey } = crypto.generateKeyPairSync("x25519");
  const share = rawOf(publicKey);
  const shared = crypto.diffieHellman({
    privateKey,
    publicKey: publicKeyOf(theirs),
  });
  const wrapKey = hkdf(shared, Buffer.concat([share, theirs]), x25519Info);
  return {
    type: "X25519",
    args: [base64(share)],
    body: seal(wrapKey, Buffer.alloc(12), fileKey),
  };
}

function openWith(
  privateKey: crypto.KeyObject,
  { share, sealed }: X25519Stanza,
): Buffer | undefined {
  const ours = rawOf(crypto.createPublicKey(privateKey));
  let shared: Buffer;
  try {
    shared = crypto.diffieHellman({
      privateKey,
      publicKey: publicKeyOf(share),
    });
  } catch (cause) {
    // OpenSSL refuses a share of low order, whose secret anybody would know.
    throw notAuthentic("has a weak X25519 share", cause);
  }
  return unseal(hkdf(shared, Buffer.concat([share, ours]), x25519Info), Buffer.alloc(12), sealed);
}

const macOf = (fileKey: Buffer, signed: Buffer): Buffer =>
  crypto
    .createHmac("sha256", hkdf(fileKey, Buffer.alloc(0), "header"))
    .update(signed)
    .digest();

const hkdf = (input: Buffer, salt: Buffer, info: string): Buffer =>
  Buffer.from(crypto.hkdfSync("sha256", input, salt, info, keyBytes));

const rawOf = (key: crypto.KeyObject): Buffer =>
  key.export({ format: "der", type: "spki" }).subarray(-keyBytes);

function publicKeyOf(raw: Buffer): crypto.KeyObject {
  if (raw.length !== keyBytes) throw failureOf("invalid-config", "a recipient must hold 32 bytes");
  const key = Buffer.concat([publicKeyPrefix, raw]);
  return crypto.createPublicKey({ key, format: "der", type: "spki" });
}

function privateKeyOf(identity: Secret): crypto.KeyObject {
  const raw = decodeBech32(identity.reveal(), identityPrefix);
  if (raw.length !== keyBytes) throw failureOf("invalid-config", "an identity must hold 32 bytes");
  const key = Buffer.concat([privateKeyPrefix, raw]);
  return crypto.createPrivateKey({ key, format: "der", type: "pkcs8" });
}
