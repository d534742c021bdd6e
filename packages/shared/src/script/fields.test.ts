import fc from "fast-check";
import { expect, test } from "vitest";
import type { Failure } from "../failure/failure.ts";
import { fieldsOf, parseLines } from "./fields.ts";

const read = (text: string | Buffer) => fieldsOf(parseLines(Buffer.from(text)));
const codeOf = (fn: () => unknown): string => {
  try {
    fn();
  } catch (error) {
    return (error as Failure).code;
  }
  return "";
};

test("readers give the values of their kind", () => {
  const fields = read("v=1\nname=a=b c\ncount=12\nflag=yes\npath=/a\npath=/b\nblob=AP8=\nempty=\n");
  expect(fields.text("name")).toBe("a=b c");
  expect(fields.text("empty")).toBe("");
  expect(fields.count("count")).toBe(12);
  expect(fields.flag("flag")).toBe(true);
  expect(fields.lines("path")).toEqual(["/a", "/b"]);
  expect(fields.lines("none")).toEqual([]);
  expect(fields.optional("none", "x")).toBe("x");
  expect([...fields.base64("blob")]).toEqual([0, 255]);
});

test.each<[text: string | Buffer, why: string]>([
  ["", "nothing"],
  ["v=1", "no line break at the end"],
  ["name=x\n", "no version"],
  ["v=2\n", "another version"],
  ["v=1\nhello\n", "chatter"],
  ["v=1\n=x\n", "no key"],
  ["v=1\na=\u001b[2J\n", "an escape sequence"],
  ["v=1\na=x\r\n", "a carriage return"],
  [Buffer.from([0x76, 0x3d, 0x31, 0x0a, 0x61, 0x3d, 0xff, 0x0a]), "bytes that are no UTF-8"],
])("%j is refused: %s", (text) => {
  expect(codeOf(() => read(text))).toBe("protocol-error");
});

test("a value of another kind, a missing one and a repeated one are refused", () => {
  const fields = read("v=1\na=x\na=y\ncount=-1\nhuge=99999999999999999\nflag=true\nblob=%%\n");
  for (const reader of [
    () => fields.text("a"),
    () => fields.text("none"),
    () => fields.count("count"),
    () => fields.count("huge"),
    () => fields.flag("flag"),
    () => fields.base64("blob"),
  ]) {
    expect(codeOf(reader)).toBe("protocol-error");
  }
});

test("case 11: any bytes are either read or refused, and reading them is never anything else", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      const code = codeOf(() => read(Buffer.concat([Buffer.from("v=1\n"), Buffer.from(bytes)])));
      expect(["", "protocol-error"]).toContain(code);
    }),
  );
});
