/** The finder of secrets finds them in every form, inside of something longer, and nothing where there is none. */
import { randomBytes } from "node:crypto";
import { inspect } from "node:util";
import { expect, test } from "vitest";
import { leakFinder, planted } from "./leak-finder.ts";

const password = `pa"ss/w&rd<${randomBytes(9).toString("base64url")}>\\n%+x`;
const secrets = [
  planted("password", password),
  planted("url", `postgres://u:${randomBytes(12).toString("hex")}@host/db`),
  planted("key", randomBytes(32)),
];
const find = leakFinder(secrets);

const inside = (bytes: Buffer, shift: number) =>
  Buffer.concat([Buffer.from("x".repeat(shift)), bytes, Buffer.from("and more")]);

const encodings: readonly [string, (bytes: Buffer) => string | Buffer][] = [
  ["as it is", (bytes) => bytes],
  ["in JSON", (bytes) => JSON.stringify({ value: bytes.toString("latin1") })],
  ["in JSON in JSON", (bytes) => JSON.stringify(JSON.stringify(bytes.toString("latin1")))],
  ["in a URL", (bytes) => encodeURIComponent(bytes.toString("latin1"))],
  ["in hex", (bytes) => bytes.toString("hex")],
  ["in capital hex", (bytes) => bytes.toString("hex").toUpperCase()],
  ["in base64", (bytes) => bytes.toString("base64")],
  ["in base64 of something longer", (bytes) => inside(bytes, 1).toString("base64")],
  ["in base64url of something longer", (bytes) => inside(bytes, 2).toString("base64url")],
  ["without its ends", (bytes) => bytes.subarray(3, -3)],
];

for (const [how, encode] of encodings) {
  test(`a secret is found ${how}, between other text`, () => {
    for (const { name, bytes } of secrets) {
      // What is not ASCII is no text: then only bytes and digits can carry it.
      const isText = name !== "key";
      if (!isText && /JSON|URL/.test(how)) continue;
      const text = Buffer.concat([
        Buffer.from("before "),
        Buffer.from(encode(bytes)),
        bytes.subarray(0, 0),
      ]);
      expect(find(text).map((told) => told.split(" (")[0])).toEqual([name]);
    }
  });
}

test("nothing is found where there is none of them, and a short secret is refused", () => {
  expect(find(inspect(process.env) + randomBytes(100_000).toString("base64"))).toEqual([]);
  expect(() => leakFinder([planted("short", "abc")])).toThrow(TypeError);
});

test("one secret inside of another, or sharing its beginning, hides neither", () => {
  const both = leakFinder([planted("one", "abcdefgh"), planted("two", "xxabcdefghyy")]);
  expect(both("…xxabcdefghyy…").length).toBe(2);
});
