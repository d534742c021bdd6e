import { createPublicKey, verify } from "node:crypto";
import fc from "fast-check";
import type { Failure } from "@chom/shared/failure/failure";
import { expect, test } from "vitest";
import { keyToSignWith, parseUserAuth } from "./signer.ts";
import { blobOf, fingerprintOf, newKeyPair, signWith } from "./ssh-key.ts";

const text = (value: string | Buffer): Buffer => {
  const bytes = Buffer.from(value);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
};
const pair = newKeyPair("chom:s1:k1");
const keys = [{ keyId: "k1", publicKey: pair.publicKey }];
const parts = {
  session: text(Buffer.alloc(32, 1)),
  message: Buffer.from([50]),
  user: text("chom"),
  service: text("ssh-connection"),
  method: text("publickey"),
  signed: Buffer.from([1]),
  algorithm: text("ssh-ed25519"),
  key: text(Buffer.from(blobOf(pair.publicKey), "base64")),
};
const request = (more: Partial<typeof parts> = {}) =>
  Buffer.concat(Object.values({ ...parts, ...more }));
const codeOf = (fn: () => unknown): string => {
  try {
    fn();
  } catch (error) {
    return (error as Failure).code;
  }
  return "";
};

test("a login of the right account with the server's key is signed with that key", () => {
  expect(keyToSignWith(request(), "chom", keys)).toBe("k1");
});

const other = newKeyPair("other");
test.each([
  ["a certificate to sign", Buffer.from("sign this contract")],
  ["a git object", Buffer.from("SSHSIG\0\0\0\0git")],
  ["nothing", Buffer.alloc(0)],
  ["another message", request({ message: Buffer.from([51]) })],
  ["no session id", request({ session: text("") })],
  ["an odd session id", request({ session: text(Buffer.alloc(33)) })],
  ["another account", request({ user: text("root") })],
  ["an account with a NUL", request({ user: text("chom\0") })],
  ["another service", request({ service: text("ssh-userauth") })],
  ["host-based login", request({ method: text("hostbased") })],
  ["no signature", request({ signed: Buffer.from([0]) })],
  ["RSA with SHA-1", request({ algorithm: text("ssh-rsa") })],
  ["a certificate algorithm", request({ algorithm: text("ssh-ed25519-cert-v01@openssh.com") })],
  ["another key", request({ key: text(Buffer.from(blobOf(other.publicKey), "base64")) })],
  ["a key of another kind", request({ key: text(text("ssh-rsa")) })],
  ["something behind it", Buffer.concat([request(), Buffer.from([0])])],
  ["a length that lies", Buffer.from([0xff, 0xff, 0xff, 0xff, 50])],
  ["too much", Buffer.concat([text(Buffer.alloc(32)), Buffer.alloc(10_000)])],
])("%s is refused", (_, data) => {
  expect(codeOf(() => keyToSignWith(data, "chom", keys))).toBe("signer-refused");
});

test("case 66: a cut or changed request is refused at every byte", () => {
  const whole = request();
  for (let length = 0; length < whole.length; length += 1) {
    expect(codeOf(() => parseUserAuth(whole.subarray(0, length)))).toBe("signer-refused");
  }
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      expect(codeOf(() => parseUserAuth(Buffer.from(bytes)))).toBe("signer-refused");
    }),
  );
});

test("a signature is verified by the public half, and the private half is wiped after one use", () => {
  const raw = Buffer.from(blobOf(pair.publicKey), "base64").subarray(-32);
  const jwk = { kty: "OKP", crv: "Ed25519", x: raw.toString("base64url") };
  const data = request();
  const signature = signWith(pair.privateKey, data);
  expect(signature).toHaveLength(64);
  expect(verify(null, data, createPublicKey({ key: jwk, format: "jwk" }), signature)).toBe(true);
  expect(pair.privateKey.reveal().every((byte) => byte === 0)).toBe(true);
});

test("a fingerprint is the one that ssh-keygen prints", () => {
  const known =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILrjV2QRFk2lGx+lG90m/ozCpjHgHJgInbSxTtRYJjG/ x";
  expect(fingerprintOf(known)).toBe("SHA256:BhS9b0vtMllGGzh+hPAJOMZGjdoY+2yrHzLEbIeusD8");
});
