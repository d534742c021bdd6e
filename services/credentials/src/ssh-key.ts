/** Ed25519 key pairs in OpenSSH's words. */
import { createHash, createPrivateKey, generateKeyPairSync, sign } from "node:crypto";
import { Secret } from "@chom/shared/secrets/secret";

const type = "ssh-ed25519";

const field = (bytes: Buffer): Buffer => {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
};

export type KeyPair = {
  /** `ssh-ed25519 AAAA… <comment>`. */
  readonly publicKey: string;
  /** PKCS#8, DER. */
  readonly privateKey: Secret<Buffer>;
};

/** Makes a new key pair; it exists in memory only. */
export function newKeyPair(comment: string): KeyPair {
  const pair = generateKeyPairSync("ed25519");
  const raw = Buffer.from(pair.publicKey.export({ format: "jwk" }).x ?? "", "base64url");
  const blob = Buffer.concat([field(Buffer.from(type)), field(raw)]);
  return {
    publicKey: `${type} ${blob.toString("base64")} ${comment}`,
    privateKey: new Secret(pair.privateKey.export({ format: "der", type: "pkcs8" })),
  };
}

/** The base64 part of an OpenSSH public key line: what an authorized_keys line is known by. */
export const blobOf = (publicKey: string): string => publicKey.split(" ")[1] ?? "";

/** `SHA256:…` as ssh-keygen prints it. */
export const fingerprintOf = (publicKey: string): string =>
  `SHA256:${createHash("sha256")
    .update(Buffer.from(blobOf(publicKey), "base64"))
    .digest("base64")
    .replace(/=+$/, "")}`;

/** The raw ed25519 signature (64 bytes). The bytes of the private key are wiped. */
export function signWith(privateKey: Secret<Buffer>, data: Buffer): Buffer {
  const der = privateKey.reveal();
  try {
    return sign(null, data, createPrivateKey({ key: der, format: "der", type: "pkcs8" }));
  } finally {
    der.fill(0);
  }
}
