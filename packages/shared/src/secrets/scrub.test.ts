import fc from "fast-check";
import { expect, test } from "vitest";
import { scrub, scrubLine } from "./scrub.ts";

const jwt = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJlLXRoYXQtaXMtbG9uZw";
const seed = "SUAOUDO2XKX4NKUQLTZNDXHGGSVWYRV2OZSHGWNSAWLGQHGWLXM6MSYYBM";

test.each([
  [
    "a PEM key",
    "x -----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNz\n-----END OPENSSH PRIVATE KEY----- y",
    "b3BlbnNz",
  ],
  ["a PEM key cut off", "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA", "MIIE"],
  ["an age identity", "AGE-SECRET-KEY-1QQPQYSQWQZQGPQYSQWQZQGPQYSQWQ", "QQPQ"],
  ["a JWT", `token was ${jwt}!`, "c2lnbmF0"],
  ["an AWS key id", "key AKIAIOSFODNN7EXAMPLE used", "IOSFODNN7"],
  ["an nkey seed", `seed ${seed}`, "UDO2XKX4"],
  ["a bearer header", "authorization: Bearer abcdef123456", "abcdef123456"],
  ["a URL's password", "postgres://chom:hunter22@db:5432/x", "hunter22"],
  ["a password setting", "DB_PASSWORD=hunter22 next", "hunter22"],
  ["a quoted password", `{"password": "two words"}`, "two words"],
  ["an access key", "aws_secret_access_key = wJalrXUtnFEMI", "wJalrX"],
])("%s is masked", (_, text, secret) => {
  expect(scrub(text)).not.toContain(secret);
  expect(scrub(text)).toContain("[secret]");
});

test("ordinary text stays as it is", () => {
  const text =
    "nginx: [emerg] host not found in upstream\n\tat /etc/nginx/sites-enabled/s-abc.conf:12";
  expect(scrub(text)).toBe(text);
  expect(scrub("postgres://chom@db:5432/x")).toBe("postgres://chom@db:5432/x");
});

test("what follows a masked value stays readable", () => {
  expect(scrub("password=hunter22 host=db failed")).toBe("password=[secret] host=db failed");
});

test("terminal tricks are written out", () => {
  expect(scrub("\u001b]0;owned\u0007 \u202egpj.exe")).toBe("\\x1b]0;owned\\x07 \\x202egpj.exe");
  expect(scrubLine(" one\r\n  two\n")).toBe("one two");
});

test("of long text the end is kept, and a key across the cut is still masked", () => {
  const text = `${"x".repeat(5_000)}\nlast line`;
  expect(scrub(text)).toHaveLength(4096);
  expect(scrub(text).endsWith("last line")).toBe(true);
  const pem = `-----BEGIN PRIVATE KEY-----\n${"QUJD".repeat(1_500)}\n-----END PRIVATE KEY-----\nend`;
  expect(scrub(pem, 100)).toBe("[secret]\nend");
});

test("any text is bounded and free of control characters, however long it is", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 2_000 }), (text) => {
      const clean = scrub(text, 200);
      expect(clean.length).toBeLessThanOrEqual(200);
      // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
      expect(clean).not.toMatch(/[\u0000-\u0008\u000b-\u001f\u007f]/);
    }),
  );
  // Anything worse than linear would take hours for these.
  const hostile = ["a".repeat(1_000_000), "password".repeat(50_000), "-----BEGIN ".repeat(50_000)];
  for (const text of hostile) {
    expect(scrub(text, 200).length).toBeLessThanOrEqual(200);
  }
}, 60_000);
