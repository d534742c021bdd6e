/** Certificate requests (PKCS #10) as they come from a server: the key they ask for and the names. */
import { createPublicKey, type KeyObject, verify } from "node:crypto";
import { isIP } from "node:net";
import { failureOf } from "@chom/shared/failure/failure";
import { elements, extensionValue, only, tags } from "./der.ts";

export type CertificateRequest = {
  readonly der: Buffer;
  readonly publicKey: KeyObject;
  /** DNS names in lower case and IP addresses, as in the subjectAltName extension. */
  readonly names: readonly string[];
};

const maxPemChars = 32_768;
const extensionRequest = "2a864886f70d01090e"; // 1.2.840.113549.1.9.14
const subjectAltName = "551d11"; // 2.5.29.17
// SEQUENCE of the OBJECT IDENTIFIER 1.2.840.10045.4.3.2, without parameters (RFC 5758 section 3.2).
const ecdsaWithSha256 = "300a06082a8648ce3d040302";
const attributesTag = 0xa0;

/**
 * Reads a PEM request and proves that its maker holds the key (ecdsa-with-SHA256 on P-256, as our script makes
 * them). Fails with `acme-malformed`.
 */
export function readCsr(pem: string): CertificateRequest {
  const der = decodePem(pem);
  const [info, algorithm, signature] = elements(only(der, tags.sequence).content);
  if (!info || !algorithm || !signature) throw bad("it has not three parts");
  const [, , spki, ...rest] = elements(info.content);
  if (!spki) throw bad("it has no key");
  const publicKey = readPublicKey(spki.bytes);
  const isEcdsa = algorithm.bytes.toString("hex") === ecdsaWithSha256;
  if (!isEcdsa || publicKey.asymmetricKeyDetails?.namedCurve !== "prime256v1") {
    throw bad("its key is not EC P-256, signed with SHA-256");
  }
  // The first byte of a BIT STRING says how many bits of the last byte are unused: none here.
  const isWhole = signature.tag === tags.bitString && signature.content[0] === 0;
  const signed = signature.content.subarray(1);
  if (!isWhole || !verify("sha256", info.bytes, publicKey, signed)) {
    throw bad("its signature is wrong");
  }
  const attributes = rest.find(({ tag }) => tag === attributesTag);
  return { der, publicKey, names: attributes ? namesOf(attributes.content) : [] };
}

const bad = (why: string) =>
  failureOf("acme-malformed", `the certificate request is not usable: ${why}`);

function decodePem(pem: string): Buffer {
  const body =
    /^-----BEGIN CERTIFICATE REQUEST-----\s([A-Za-z0-9+/=\s]+)-----END CERTIFICATE REQUEST-----\s*$/;
  const found = pem.length <= maxPemChars ? body.exec(pem.trim()) : null;
  if (!found?.[1]) throw bad("it is not one PEM block");
  return Buffer.from(found[1], "base64");
}

function readPublicKey(spki: Buffer): KeyObject {
  try {
    return createPublicKey({ key: spki, format: "der", type: "spki" });
  } catch (cause) {
    throw failureOf("acme-malformed", "the certificate request's key cannot be read", { cause });
  }
}

function namesOf(attributes: Buffer): string[] {
  for (const attribute of elements(attributes)) {
    const [oid, values] = elements(attribute.content);
    if (oid?.content.toString("hex") !== extensionRequest || !values) continue;
    const extensions = only(values.content, tags.sequence);
    const value = extensionValue(extensions.content, subjectAltName);
    return value ? elements(only(value, tags.sequence).content).map(nameOf) : [];
  }
  return [];
}

const dnsNameTag = 0x82;
const ipAddressTag = 0x87;

function nameOf({ tag, content }: { tag: number; content: Buffer }): string {
  if (tag === dnsNameTag) return content.toString("latin1").toLowerCase();
  if (tag === ipAddressTag && content.length === 4) return [...content].join(".");
  if (tag === ipAddressTag && content.length === 16) {
    const groups = Array.from({ length: 8 }, (_, i) => content.readUInt16BE(i * 2).toString(16));
    return canonicalName(groups.join(":"));
  }
  throw bad("it asks for something that is neither a DNS name nor an address");
}

/** One spelling per name: lower case, and IPv6 as RFC 5952 writes it. */
export function canonicalName(name: string): string {
  return isIP(name) === 6 ? new URL(`http://[${name}]`).hostname.slice(1, -1) : name.toLowerCase();
}

/** True when both lists hold the same names, in any order and however often. */
export const isSameNames = (a: readonly string[], b: readonly string[]): boolean => {
  const [left, right] = [a, b].map((names) => new Set(names.map(canonicalName)));
  return left?.size === right?.size && [...(left ?? [])].every((name) => right?.has(name));
};
