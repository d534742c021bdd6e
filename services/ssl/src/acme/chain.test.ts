import { readFileSync } from "node:fs";
import { X509Certificate } from "node:crypto";
import fc from "fast-check";
import { expect, test } from "vitest";
import { ariId, isAriId, readRenewalInfo } from "./ari.ts";
import { inspectChain } from "./chain.ts";
import { readCsr } from "./csr.ts";

const pem = (name: string): string =>
  readFileSync(new URL(`./fixtures/${name}.pem`, import.meta.url), "utf8");

const csr = readCsr(pem("shop.csr"));
const names = ["shop.test", "www.shop.test", "10.0.0.7", "2001:db8::7"];
const now = new Date("2026-12-24T00:00:00Z");
const inspect = (chain: string, changes: { names?: string[]; now?: Date } = {}) =>
  inspectChain(pem(chain), { names, publicKey: csr.publicKey, now, ...changes });
const mismatch = expect.objectContaining({ code: "cert-mismatch", kind: "permanent" });

test("a request tells its key and its names, addresses in one spelling", () => {
  expect(csr.names).toEqual(names);
  expect(csr.publicKey.asymmetricKeyDetails).toMatchObject({ namedCurve: "prime256v1" });
});

test("a request with another kind of key, a changed byte or a shape that is none is refused", () => {
  const refused = expect.objectContaining({ code: "acme-malformed" });
  expect(() => readCsr(pem("rsa.csr"))).toThrow(refused);
  expect(() => readCsr(pem("shop.chain"))).toThrow(refused);
  const der = Buffer.from(csr.der);
  fc.assert(
    fc.property(fc.nat(der.length - 1), fc.integer({ min: 1, max: 255 }), (at, flip) => {
      const changed = Buffer.from(der);
      changed[at] = (changed[at] ?? 0) ^ flip;
      const text = `-----BEGIN CERTIFICATE REQUEST-----\n${changed.toString("base64")}\n-----END CERTIFICATE REQUEST-----`;
      expect(() => readCsr(text)).toThrow(refused);
    }),
  );
});

test("a chain that fits gives the facts of the certificate itself", () => {
  expect(inspect("shop.chain")).toMatchObject({
    serial: "9a00ff",
    issuer: "CN=Fixture Intermediate",
    names,
    notBefore: expect.any(Date),
    ariId: "YwDV9h9QmAZ48SvvtdM99jfQ8Rs.AJoA_w",
  });
  const { notBefore, notAfter, fingerprint } = inspect("shop.chain");
  expect(notAfter.getTime() - notBefore.getTime()).toBe(90 * 86_400_000);
  expect(fingerprint).toMatch(/^[0-9a-f]{64}$/);
});

test("case 74: more names, fewer names, another key or a broken chain is a mismatch", () => {
  expect(() => inspect("shop.more-names.chain")).toThrow(mismatch);
  expect(() => inspect("shop.chain", { names: [...names, "mail.shop.test"] })).toThrow(mismatch);
  expect(() => inspect("shop.other-key.chain")).toThrow(/another key/);
  expect(() => inspect("shop.broken-chain")).toThrow(/chain is broken/);
});

test("case 74: a certificate that ended or that begins tomorrow is a mismatch", () => {
  expect(() => inspect("shop.chain", { now: new Date("2027-06-01T00:00:00Z") })).toThrow(/ended/);
  expect(() => inspect("shop.chain", { now: new Date("2026-11-01T00:00:00Z") })).toThrow(/begins/);
});

test("text around the certificates, none at all or too many is a mismatch", () => {
  const chain = pem("shop.chain");
  const expected = { names, publicKey: csr.publicKey, now };
  for (const text of ["", "hello", `${chain}<script>`, chain.repeat(6), pem("shop.csr")]) {
    expect(() => inspectChain(text, expected)).toThrow(mismatch);
  }
});

test("an ARI id keeps the serial's leading zero byte", () => {
  const leaf = new X509Certificate(pem("shop.chain"));
  expect(ariId(leaf).split(".")[1]).toBe(Buffer.from("009a00ff", "hex").toString("base64url"));
  expect(isAriId(ariId(leaf))).toBe(true);
  expect(isAriId("a/../b.c")).toBe(false);
});

test("a renewal window must end after it begins; asking again is kept between a minute and a day", () => {
  const window = {
    suggestedWindow: { start: "2027-01-01T00:00:00Z", end: "2027-01-03T00:00:00Z" },
  };
  expect(readRenewalInfo(window, 21_600_000)).toMatchObject({ askAgainMs: 21_600_000 });
  expect(readRenewalInfo(window, 0).askAgainMs).toBe(60_000);
  expect(readRenewalInfo(window, 99 * 86_400_000).askAgainMs).toBe(86_400_000);
  const { start, end } = window.suggestedWindow;
  for (const json of [
    null,
    {},
    "x",
    { suggestedWindow: { start: end, end: start } },
    { suggestedWindow: { start } },
  ]) {
    expect(() => readRenewalInfo(json, 1)).toThrow(
      expect.objectContaining({ code: "acme-malformed" }),
    );
  }
});
