/** A certificate authority for tests and the demo, and certificates from it, made in this process. */
import "reflect-metadata";
import { randomBytes, webcrypto } from "node:crypto";
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  type JsonGeneralName,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  type X509Certificate,
  X509CertificateGenerator,
} from "@peculiar/x509";

const dayMs = 86_400_000;
/** Clocks of two machines differ a little; a certificate from the future is refused. */
const startedMs = 300_000;
const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };

type Keys = webcrypto.CryptoKeyPair;

export type Ca = {
  name: string;
  certPem: string;
  /** Signs; for `issueCertificate` only. */
  certificate: X509Certificate;
  keys: Keys;
};

export type CertificateRequest = {
  commonName: string;
  dnsNames?: readonly string[];
  ipAddresses?: readonly string[];
  /** Such as `spiffe://chom/<service>`: the identity that other services read. */
  uris?: readonly string[];
  /** Valid for so long from now; default 30. Zero or less makes one that has expired. */
  days?: number;
};

export type IssuedCertificate = { certPem: string; keyPem: string };

/** Makes a self-signed P-256 CA that is valid for `days` (default 365) and may sign leaves only. */
export async function createCa(name: string, days = 365): Promise<Ca> {
  const keys = await newKeys();
  const certificate = await X509CertificateGenerator.createSelfSigned({
    serialNumber: newSerial(),
    name: [{ CN: [name] }],
    ...validity(days),
    signingAlgorithm: algorithm,
    keys,
    extensions: [
      new BasicConstraintsExtension(true, 0, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
      await SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { name, certPem: pem(certificate), certificate, keys };
}

/** Makes a key and a certificate of `ca` for it, good for both ends of mutual TLS. */
export async function issueCertificate(
  ca: Ca,
  request: CertificateRequest,
): Promise<IssuedCertificate> {
  const keys = await newKeys();
  const certificate = await X509CertificateGenerator.create({
    serialNumber: newSerial(),
    subject: [{ CN: [request.commonName] }],
    issuer: ca.certificate.subject,
    ...validity(request.days ?? 30),
    signingAlgorithm: algorithm,
    publicKey: keys.publicKey,
    signingKey: ca.keys.privateKey,
    extensions: [
      new BasicConstraintsExtension(false, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
      new ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth, ExtendedKeyUsage.clientAuth]),
      new SubjectAlternativeNameExtension(names(request)),
      await SubjectKeyIdentifierExtension.create(keys.publicKey),
      await AuthorityKeyIdentifierExtension.create(ca.keys.publicKey),
    ],
  });
  const key = Buffer.from(await webcrypto.subtle.exportKey("pkcs8", keys.privateKey));
  const body = key.toString("base64").replace(/.{64}(?=.)/g, "$&\n");
  const keyPem = `-----BEGIN PRIVATE KEY-----\n${body}\n-----END PRIVATE KEY-----\n`;
  return { certPem: pem(certificate), keyPem };
}

function newKeys(): Promise<Keys> {
  return webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"]) as Promise<Keys>;
}

/** 127 random bits, positive as RFC 5280 asks. */
function newSerial(): string {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40;
  return bytes.toString("hex");
}

function validity(days: number): { notBefore: Date; notAfter: Date } {
  const now = Date.now();
  const notAfter = new Date(now + days * dayMs);
  return { notBefore: new Date(Math.min(now - startedMs, notAfter.getTime() - dayMs)), notAfter };
}

function names(request: CertificateRequest): JsonGeneralName[] {
  const of = (type: JsonGeneralName["type"], values: readonly string[] = []) =>
    values.map((value) => ({ type, value }));
  return [
    ...of("dns", request.dnsNames),
    ...of("ip", request.ipAddresses),
    ...of("url", request.uris),
  ];
}

const pem = (certificate: X509Certificate): string => `${certificate.toString("pem").trim()}\n`;
