import fc from "fast-check";
import { expect, test } from "vitest";
import { ownUrl, readAuthorization, readChallenge, readDirectory, readOrder } from "./answers.ts";

const origin = "https://ca.test";
const at = { url: `${origin}/order/1`, origin, retryAfterMs: undefined };
const order = {
  status: "pending",
  identifiers: [{ type: "dns", value: "Shop.Test" }],
  authorizations: [`${origin}/authz/1`],
  finalize: `${origin}/finalize/1`,
};
const challenge = {
  type: "http-01",
  url: `${origin}/chall/1`,
  status: "pending",
  token: "LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0",
};

test("an order is read with its names in lower case", () => {
  expect(readOrder(order, at)).toMatchObject({
    status: "pending",
    names: ["shop.test"],
    certificateUrl: null,
  });
});

test("case 27, 73: a URL of another origin is refused wherever it stands", () => {
  const strange = [
    "https://evil.test/x",
    "http://ca.test/x",
    "https://ca.test:8443/x",
    "https://ca.test.evil.test/",
    "https://user@ca.test/x",
    "file:///etc/passwd",
    "/relative",
    `${origin}/${"a".repeat(3_000)}`,
    7,
  ];
  for (const url of strange) {
    expect(() => ownUrl(url, origin, "it")).toThrow(
      expect.objectContaining({ code: "acme-malformed" }),
    );
    expect(() => readOrder({ ...order, finalize: url }, at)).toThrow();
    expect(() => readOrder({ ...order, authorizations: [url] }, at)).toThrow();
    expect(() => readOrder({ ...order, status: "valid", certificate: url }, at)).toThrow();
    expect(() => readChallenge({ ...challenge, url }, origin)).toThrow();
    expect(() =>
      readDirectory({ newNonce: url, newAccount: at.url, newOrder: at.url }, origin),
    ).toThrow();
  }
});

test("case 73: a token that is not 22 to 128 characters of base64url is refused", () => {
  const tokens = [
    "../../etc/passwd",
    "a/b".repeat(10),
    "",
    "a".repeat(21),
    "a".repeat(129),
    `${"a".repeat(30)}\n`,
    ".".repeat(30),
    null,
  ];
  for (const token of tokens) {
    expect(() => readChallenge({ ...challenge, token }, origin)).toThrow(/token/);
  }
  expect(readChallenge(challenge, origin).token).toBe(challenge.token);
});

test("an authorisation without HTTP-01 has none, and other kinds of challenge are not looked at", () => {
  const json = {
    status: "pending",
    identifier: { type: "dns", value: "shop.test" },
    challenges: [{ type: "dns-01", token: "../" }],
  };
  expect(readAuthorization(json, at).http01).toBeNull();
  expect(readAuthorization({ ...json, challenges: [challenge] }, at).http01?.token).toBe(
    challenge.token,
  );
});

test("whatever the CA answers is read or refused as acme-malformed", () => {
  const anything = fc.oneof(
    fc.anything(),
    fc.record({ ...Object.fromEntries(Object.keys(order).map((key) => [key, fc.anything()])) }),
  );
  fc.assert(
    fc.property(anything, (json) => {
      for (const read of [
        () => readOrder(json, at),
        () => readAuthorization(json, at),
        () => readDirectory(json, origin),
      ]) {
        try {
          read();
        } catch (error) {
          expect(error).toMatchObject({ name: "Failure", code: "acme-malformed" });
        }
      }
    }),
  );
});
