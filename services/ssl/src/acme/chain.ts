/** What a CA sent back, looked at before it goes anywhere: right names, right key, in time, chain whole. */
import { type KeyObject, X509Certificate } from "node:crypto";
import { failureOf } from "@chom/shared/failure/failure";
import { ariId } from "./ari.ts";
import { canonicalName, isSameNames } from "./csr.ts";
import { printable } from "./problem.ts";

/** What the certificate itself says; nothing here is assumed. */
export type CertificateFacts = {
  /** Lower-case hex, leading zeros kept. */
  readonly serial: string;
  readonly issuer: string;
  readonly notBefore: Date;
  readonly notAfter: Date;
  readonly names: readonly string[];
  readonly ariId: string;
  /** SHA-256 of the certificate, lower-case hex. */
  readonly fingerprint: string;
};

export type Expected = {
  readonly names: readonly string[];
  /** The request's. */
  readonly publicKey: KeyObject;
  readonly now: Date;
};

const maxChainChars = 256 * 1024;
const maxChainLength = 10;
// CAs date certificates back by an hour; a clock that is behind by more is a fault to show.
const skewMs = 60 * 60_000;
const pemBlock = /-----BEGIN CERTIFICATE-----\s[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----/g;

const mismatch = (why: string) =>
  failureOf("cert-mismatch", `the CA's certificate is not used: ${why}`);

/** Reads a chain and compares it with what was asked for. Fails with `cert-mismatch`, and then it is never installed. */
export function inspectChain(pem: string, { names, publicKey, now }: Expected): CertificateFacts {
  const chain = readChain(pem);
  const leaf = chain[0] as X509Certificate;
  const facts = factsOf(leaf);
  if (!isSameNames(names, facts.names)) {
    throw mismatch(`it is for ${printable(facts.names.join(", ") || "nothing", 300)}`);
  }
  if (!leaf.publicKey.equals(publicKey)) throw mismatch("it is for another key");
  if (leaf.ca) throw mismatch("it is a CA's own certificate");
  if (facts.notAfter <= now) throw mismatch(`it ended on ${facts.notAfter.toISOString()}`);
  if (facts.notBefore.getTime() > now.getTime() + skewMs) {
    throw mismatch(`it begins on ${facts.notBefore.toISOString()}`);
  }
  for (const [index, issuer] of chain.slice(1).entries()) {
    const subject = chain[index] as X509Certificate;
    if (!subject.checkIssued(issuer) || !subject.verify(issuer.publicKey)) {
      throw mismatch(`its chain is broken after part ${index + 1}`);
    }
  }
  return facts;
}

function readChain(pem: string): X509Certificate[] {
  const blocks = pem.length <= maxChainChars ? (pem.match(pemBlock) ?? []) : [];
  const rest = pem.replace(pemBlock, "").trim();
  if (blocks.length === 0 || blocks.length > maxChainLength || rest !== "") {
    throw mismatch(`it is no PEM chain of 1 to ${maxChainLength} certificates`);
  }
  try {
    return blocks.map((block) => new X509Certificate(block));
  } catch (cause) {
    throw failureOf("cert-mismatch", "the CA's certificate cannot be read", { cause });
  }
}

function factsOf(leaf: X509Certificate): CertificateFacts {
  return {
    serial: leaf.serialNumber.toLowerCase(),
    issuer: printable(leaf.issuer.replaceAll("\n", ", "), 300),
    notBefore: leaf.validFromDate,
    notAfter: leaf.validToDate,
    names: namesOf(leaf),
    ariId: ariId(leaf),
    fingerprint: leaf.fingerprint256.replaceAll(":", "").toLowerCase(),
  };
}

/** Names of the kinds `DNS:` and `IP Address:`; any other kind, or a quoted one, stays as it is and so matches nothing. */
function namesOf(leaf: X509Certificate): string[] {
  const all = leaf.subjectAltName?.split(", ") ?? [];
  return all.map((name) => canonicalName(name.replace(/^(DNS|IP Address):/, "")));
}
