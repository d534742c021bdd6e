import { Readable, Writable } from "node:stream";
import { pipeline } from "node:stream/promises";
import fc from "fast-check";
import { expect, test } from "vitest";
import { inspectPostgresDump } from "./postgres-dump.ts";

const dump = (...tables: readonly (readonly string[])[]) =>
  [
    "--\n-- PostgreSQL database dump\n--\n\n\\restrict abc\n\nCREATE TABLE public.t (a text);\n",
    ...tables.map(
      (rows, at) =>
        `--\n-- Data for Name: t${at}; Type: TABLE DATA; Schema: public; Owner: x\n--\n\nCOPY public.t${at} (a) FROM stdin;\n${rows.map((row) => `${row}\n`).join("")}\\.\n\n`,
    ),
    "--\n-- PostgreSQL database dump complete\n--\n\n\\unrestrict abc\n",
  ].join("\n");

async function census(text: string, size = 7) {
  const { stream, counted } = inspectPostgresDump();
  const bytes = Buffer.from(text);
  const pieces = Array.from({ length: Math.ceil(bytes.length / size) }, (_, at) =>
    bytes.subarray(at * size, (at + 1) * size),
  );
  const out: Buffer[] = [];
  const sink = new Writable({
    write(data: Buffer, _encoding, done) {
      out.push(data);
      done();
    },
  });
  await pipeline(Readable.from(pieces), stream, sink);
  expect(Buffer.concat(out).equals(bytes)).toBe(true);
  return counted();
}

/** As pg_dump writes text: no line break, no bare backslash. */
const row = fc.string().map((text) => text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n"));

test("tables and rows are counted as they are, however the bytes arrive", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.array(row, { maxLength: 6 }), { maxLength: 4 }),
      fc.integer({ min: 1, max: 40 }),
      async (tables, size) => {
        const rows = tables.reduce((sum, each) => sum + each.length, 0);
        expect(await census(dump(...tables), size)).toEqual({ tables: tables.length, rows });
      },
    ),
    { numRuns: 100 },
  );
});

test("a dump without its last line is not complete, wherever it was cut", async () => {
  const whole = dump(["a", "b"], ["-- PostgreSQL database dump complete"]);
  const end = whole.lastIndexOf("complete") + "complete".length - 1;
  for (const cut of [0, 1, end >> 1, end - 40, end]) {
    await expect(census(whole.slice(0, cut)), `cut at ${cut}`).rejects.toMatchObject({
      code: "dump-incomplete",
    });
  }
  await expect(census(`${whole}CREATE TABLE more (a int);\n`)).rejects.toMatchObject({
    code: "dump-incomplete",
  });
});

test("the body of a function that looks like data is none", async () => {
  const body = "CREATE FUNCTION f() AS $$\nCOPY public.no FROM stdin;\n$$;\n";
  const text = dump(["a"]).replace("CREATE TABLE", `${body}CREATE TABLE`);
  expect(await census(text)).toEqual({ tables: 1, rows: 1 });
});
