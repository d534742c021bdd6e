/** The backup keys of a deployment, kept in one file that no server ever sees. */
import { createPrivateKey, type KeyObject, randomBytes } from "node:crypto";
import { failureOf } from "@chom/shared/failure/failure";
import { Secret } from "@chom/shared/secrets/secret";
import { makeAgeKeyPair, recipientOf } from "@chom/shared/age/age-file";
import { decodeBech32, encodeBech32 } from "@chom/shared/age/bech32";

const signingPrefix = "CHOM-SIGNING-KEY-";
// RFC 8410: what stands before the 32 raw bytes of an ed25519 private key.
const ed25519Prefix = Buffer.from("302e020100300506032b657004220420", "hex");

export type BackupKeys = {
  /** Archives are made for all of these; those without an identity here are escrow keys. */
  recipients: readonly string[];
  /** Open archives; the first is the current one, older ones stay for older archives. */
  identities: readonly Secret[];
  /** Sign and check manifests; the first one signs. */
  signingKeys: readonly [KeyObject, ...KeyObject[]];
};

/**
 * Reads the file: lines of `AGE-SECRET-KEY-…` (as age-keygen writes them), `CHOM-SIGNING-KEY-…`, further recipients
 * `age1…`, comments `#`. Throws `key-missing` when an identity or a signing key is missing.
 */
export function readBackupKeys(text: Secret): BackupKeys {
  const lines = text
    .reveal()
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "" && !line.startsWith("#"));
  const identities = lines.filter((line) => line.startsWith("AGE-SECRET-KEY-"));
  const signing = lines.filter((line) => line.startsWith(signingPrefix));
  const extra = lines.filter((line) => line.startsWith("age1"));
  if (identities.length + signing.length + extra.length !== lines.length) {
    throw failureOf("invalid-config", "the backup key file has a line of an unknown kind");
  }
  const [current, ...older] = identities.map((line) => new Secret(line));
  const [signer, ...others] = signing.map(signingKeyOf);
  if (!current || !signer) {
    throw failureOf("key-missing", "the backup key file needs an age identity and a signing key");
  }
  return {
    recipients: [recipientOf(current), ...extra],
    identities: [current, ...older],
    signingKeys: [signer, ...others],
  };
}

/** The text of a new key file. Whoever loses it loses every backup made with it. */
export function makeBackupKeys(): Secret {
  const { recipient, identity } = makeAgeKeyPair();
  const signing = encodeBech32(signingPrefix.toLowerCase(), randomBytes(32)).toUpperCase();
  return new Secret(`# recipient: ${recipient}\n${identity.reveal()}\n${signing}\n`);
}

function signingKeyOf(line: string): KeyObject {
  const key = Buffer.concat([ed25519Prefix, decodeBech32(line, signingPrefix)]);
  return createPrivateKey({ key, format: "der", type: "pkcs8" });
}
