import { createPublicKey, generateKeyPairSync, verify } from "node:crypto";
import { inspect } from "node:util";
import { Secret } from "@chom/shared/secrets/secret";
import { expect, test } from "vitest";
import { accountKey, newAccountKey } from "./jws.ts";

const decode = (part: string): unknown => JSON.parse(Buffer.from(part, "base64url").toString());

test("a signed request names its URL, its nonce and the account, and its signature is right", () => {
  const key = accountKey(newAccountKey());
  const jws = JSON.parse(
    key.signRequest({
      url: "https://ca.test/a",
      nonce: "n",
      kid: "https://ca.test/1",
      payload: { a: 1 },
    }),
  );
  expect(decode(jws.protected)).toEqual({
    alg: "ES256",
    nonce: "n",
    url: "https://ca.test/a",
    kid: "https://ca.test/1",
  });
  expect(decode(jws.payload)).toEqual({ a: 1 });
  const publicKey = createPublicKey({ key: { ...key.jwk }, format: "jwk" });
  const signed = Buffer.from(`${jws.protected}.${jws.payload}`);
  const signature = Buffer.from(jws.signature, "base64url");
  expect(verify("sha256", signed, { key: publicKey, dsaEncoding: "ieee-p1363" }, signature)).toBe(
    true,
  );
});

test("a new account sends its key instead, and a POST-as-GET has an empty payload", () => {
  const key = accountKey(newAccountKey());
  const jws = JSON.parse(key.signRequest({ url: "https://ca.test/a", nonce: "n" }));
  expect(decode(jws.protected)).toMatchObject({ jwk: key.jwk });
  expect(jws.payload).toBe("");
});

test("the same key as PEM and as JWK has the same thumbprint", () => {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const pem = new Secret(privateKey.export({ type: "pkcs8", format: "pem" }).toString());
  const jwk = new Secret(JSON.stringify(privateKey.export({ format: "jwk" })));
  expect(accountKey(pem).thumbprint).toBe(accountKey(jwk).thumbprint);
});

test("another kind of key is refused without showing it", () => {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-384" });
  const pem = privateKey.export({ type: "pkcs8", format: "pem" }).toString();
  for (const text of [pem, "{", "hello key material"]) {
    try {
      accountKey(new Secret(text));
      expect.unreachable();
    } catch (error) {
      expect(error).toMatchObject({ code: "acme-account", kind: "operator" });
      expect(inspect(error, { depth: 9 })).not.toContain("key material");
    }
  }
});

test("case 41: nothing of an account key object prints the private key", () => {
  const secret = newAccountKey();
  const body = secret.reveal().split("\n")[1] ?? "";
  expect(
    `${inspect(accountKey(secret), { depth: 9, showHidden: true })}${inspect(secret)}`,
  ).not.toContain(body);
});
