import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import fc from "fast-check";
import { expect, test } from "vitest";
import { inspectDump } from "./dump-inspect.ts";
import { rewriteDump } from "./dump-rewrite.ts";
import { inspectTar } from "./tar-inspect.ts";

const inPieces = (bytes: Buffer, size: number) =>
  Readable.from(
    (function* () {
      for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
    })(),
    { objectMode: false },
  );

/** One tar entry with its content, as POSIX writes it. */
function entry(
  name: string,
  more: { type?: string; link?: string; content?: string } = {},
): Buffer {
  const content = Buffer.from(more.content ?? "", "latin1");
  const head = Buffer.alloc(512);
  head.write(name, 0, 100, "latin1");
  head.write("0000644\0", 100);
  head.write(`${content.length.toString(8).padStart(11, "0")}\0`, 124);
  head.write("        ", 148);
  head.write(more.type ?? "0", 156);
  head.write(more.link ?? "", 157, 100, "latin1");
  head.write("ustar\x0000", 257);
  const sum = head.reduce((total, byte) => total + byte, 0);
  head.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  return Buffer.concat([head, content, Buffer.alloc((512 - (content.length % 512)) % 512)]);
}
const pax = (records: Record<string, string>) => {
  const lines = Object.entries(records).map(([key, value]) => {
    let length = key.length + value.length + 4;
    while (`${length} ${key}=${value}\n`.length !== length) length += 1;
    return `${length} ${key}=${value}\n`;
  });
  return entry("pax", { type: "x", content: lines.join("") });
};
const tar = (...entries: Buffer[]) => Buffer.concat([...entries, Buffer.alloc(1024)]);

async function inspected(bytes: Buffer, pieceBytes = 700) {
  const { stream, census } = inspectTar();
  const out = await buffer(inPieces(bytes, pieceBytes).compose(stream));
  return { out, ...census() };
}

test("a tar passes unchanged and is counted, however its bytes arrive", async () => {
  const bytes = tar(
    entry("./", { type: "5" }),
    entry("./a", { content: "x".repeat(1300) }),
    pax({ path: `./${"long/".repeat(60)}name` }),
    entry("short", { content: "y" }),
    entry("./link", { type: "2", link: "/etc/shadow" }),
    entry("./hard", { type: "1", link: "./a" }),
  );
  for (const size of [1, 511, 512, 513, 100_000]) {
    const { out, entries, fileBytes } = await inspected(bytes, size);
    expect(out.equals(bytes)).toBe(true);
    expect({ entries, fileBytes }).toEqual({ entries: 5, fileBytes: 1301 });
  }
});

test.each([
  ["an absolute name", entry("/etc/cron.d/x")],
  ["a climbing name", entry("a/../../etc/x")],
  ["a climbing long name", Buffer.concat([pax({ path: "../x" }), entry("fine")])],
  [
    "a GNU long name that climbs",
    Buffer.concat([entry("L", { type: "L", content: "../x\0" }), entry("fine")]),
  ],
  ["a hard link out", entry("a", { type: "1", link: "../../etc/passwd" })],
  [
    "a hard link to a root",
    Buffer.concat([pax({ linkpath: "/etc/passwd" }), entry("a", { type: "1", link: "b" })]),
  ],
  ["a character device", entry("a", { type: "3" })],
  ["a block device", entry("a", { type: "4" })],
  ["a pipe", entry("a", { type: "6" })],
  ["an unknown type", entry("a", { type: "Z" })],
  ["a sparse file", Buffer.concat([pax({ "GNU.sparse.major": "1" }), entry("a")])],
  ["a name behind a link", Buffer.concat([entry("a", { type: "2", link: "/etc" }), entry("a/x")])],
  [
    "a name behind a link, spelled otherwise",
    Buffer.concat([entry("./a/b", { type: "2", link: ".." }), entry(".//a/./b/c/x")]),
  ],
  [
    "a name behind a hard link to a link",
    Buffer.concat([
      ...[entry("a", { type: "2", link: "/etc" }), entry("b", { type: "1", link: "./a" })],
      entry("b/x"),
    ]),
  ],
  ["a file where a link was", Buffer.concat([entry("a", { type: "2", link: "/x" }), entry("./a")])],
  ["a drive", entry("C:\\Windows\\x")],
  ["a NUL in a long name", Buffer.concat([pax({ path: "a\0/../x" }), entry("a")])],
  ["a folder too deep", Buffer.concat([pax({ path: "a/".repeat(300) }), entry("a")])],
])("case 13, 14, 18, 24: a tar with %s is refused", async (_, bytes) => {
  await expect(inspected(tar(bytes))).rejects.toMatchObject({ code: "archive-unsafe" });
});

test("case 19: a tar that is cut off, damaged or goes on after its end is refused", async () => {
  const whole = tar(entry("a", { content: "hello" }));
  const flipped = Buffer.from(whole);
  flipped[3] = 1;
  const sized = (size: string) => Buffer.concat([pax({ size }), entry("a", { content: "hello" })]);
  for (const bytes of [
    tar(sized("-512")),
    tar(sized("1e9")),
    tar(sized("99999999999999999999")),
    tar(sized("0x200")),
    whole.subarray(0, 512),
    whole.subarray(0, 700),
    flipped,
    Buffer.concat([whole, entry("b")]),
  ]) {
    await expect(inspected(bytes)).rejects.toMatchObject({ code: "archive-not-authentic" });
  }
});

async function censusOf(dump: string, pieceBytes = 50) {
  const { stream, census } = inspectDump();
  await buffer(inPieces(Buffer.from(dump, "latin1"), pieceBytes).compose(stream));
  return census();
}

test("rows are counted as the dump has them, whatever text they hold", async () => {
  const dump = [
    "-- MariaDB dump",
    "CREATE TABLE `odd``name` (",
    "  `a` int COMMENT 'x (y), (z)'",
    ");",
    "INSERT INTO `odd``name` VALUES (1,'a(b),(c);\\'INSERT INTO `t` VALUES (1)\\\\'),(2,NULL),",
    "(3,''''),(4,0x28);",
    "CREATE TABLE `empty` (`a` int);",
    "INSERT INTO `gen` (`VALUES (`, `b`) VALUES (1,(2)),(3,4);",
    "/*!50001 CREATE VIEW `v` AS SELECT 1 */;",
    "DELIMITER ;;",
    "CREATE PROCEDURE `p`()",
    "INSERT INTO `inside` VALUES (1);",
    "CREATE TABLE `inside2` (`a` int);;",
    "DELIMITER ;",
    "-- Dump completed",
  ].join("\n");
  for (const size of [1, 7, 10_000]) {
    expect(await censusOf(dump, size)).toEqual({
      tables: [
        { name: "empty", rows: 0 },
        { name: "gen", rows: 2 },
        { name: "odd`name", rows: 4 },
      ],
      isComplete: true,
    });
  }
});

test("any text in a row counts as one row", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.string(), { minLength: 1, maxLength: 5 }), async (texts) => {
      const quoted = texts.map((text) => {
        const escaped = text
          .replaceAll("\\", "\\\\")
          .replaceAll("'", "\\'")
          .replaceAll("\n", "\\n");
        return `(1,'${escaped}')`;
      });
      const { tables } = await censusOf(`INSERT INTO \`t\` VALUES ${quoted.join(",")};\n`);
      expect(tables).toEqual([{ name: "t", rows: texts.length }]);
    }),
  );
});

test("a dump without its last line is not complete", async () => {
  expect((await censusOf("INSERT INTO `t` VALUES (1);\n")).isComplete).toBe(false);
  expect((await censusOf("INSERT INTO `t` VALUES ('-- Dump completed');\n")).isComplete).toBe(
    false,
  );
  expect((await censusOf("x\n-- Dump completed on 2026-01-01\n")).isComplete).toBe(true);
});

const rewritten = async (dump: string, pieceBytes = 13) =>
  (await buffer(inPieces(Buffer.from(dump, "latin1"), pieceBytes).compose(rewriteDump()))).toString(
    "latin1",
  );

test("case 23: definers go, data stays byte for byte", async () => {
  const data = `INSERT INTO \`t\` VALUES ('CREATE DEFINER=\`a\`@\`b\`${"x".repeat(9000)}');\n`;
  const dump = [
    "/*M!999999\\- enable the sandbox mode */ \n",
    data,
    "/*!50003 CREATE*/ /*!50017 DEFINER=`ro``ot`@`localhost`*/ /*!50003 TRIGGER t BEFORE INSERT */;;\n",
    "CREATE DEFINER=`root`@`%` PROCEDURE `p`()\n",
    "  SELECT 'DEFINER=`a`@`b`';\n",
    "-- Dump completed",
  ];
  for (const size of [1, 4096, 4097, 100_000]) {
    expect(await rewritten(dump.join(""), size)).toBe(
      [
        data,
        "/*!50003 CREATE*/ /*!50017 */ /*!50003 TRIGGER t BEFORE INSERT */;;\n",
        "CREATE  PROCEDURE `p`()\n",
        "  SELECT 'DEFINER=`a`@`b`';\n",
        "-- Dump completed",
      ].join(""),
    );
  }
});

test.each([
  "USE `mysql`;",
  "use other;",
  "CREATE DATABASE x;",
  "\\! sh",
  "source /etc/x",
  "system id",
  "DROP DATABASE x;",
  "GRANT ALL ON *.* TO x;",
  "/*!40000 DROP DATABASE IF EXISTS `x`*/;",
  "/*M!100100 GRANT ALL ON *.* TO x */;",
  "/*! USE mysql */;",
  "CREATE USER x IDENTIFIED BY 'x';",
  "ALTER USER root IDENTIFIED BY 'x';",
  "SET GLOBAL general_log = 1;",
  "SET PASSWORD = 'x';",
  "INSTALL PLUGIN x SONAME 'x.so';",
  "CREATE FUNCTION sh RETURNS STRING SONAME 'x.so';",
  "COPY t FROM PROGRAM 'id';",
  "LOAD DATA INFILE '/etc/passwd' INTO TABLE t;",
])("case 23: a dump with %j is refused", async (line) => {
  await expect(rewritten(`-- start\n${line}\n`)).rejects.toMatchObject({ code: "archive-unsafe" });
});

test("case 18: a header that promises more than comes is refused without memory for it", async () => {
  const promise = entry("a");
  promise.write("77777777777\0", 124);
  promise.write("        ", 148);
  const sum = promise.reduce((total, byte) => total + byte, 0);
  promise.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  await expect(inspected(tar(promise))).rejects.toMatchObject({ code: "archive-not-authentic" });
});
