import fc from "fast-check";
import { expect, test } from "vitest";
import { type Content, chainHash, noHash } from "./archived-event.ts";
import { compareHistory, type Kept, type Told } from "./compare-history.ts";

const content = (name: string, body = name): Content => ({
  ...{ subject: "evt.acme.site.s1", eventId: name, type: "t", headers: "{}" },
  body: Buffer.from(body),
});
const told = (...names: string[]): Told[] =>
  names.map((name, at) => ({ ...content(name), sequence: at + 1 }));
function kept(...names: string[]): Kept[] {
  let previousHash: Buffer = noHash;
  return names.map((name, at) => {
    const hash = chainHash(previousHash, at + 1, content(name));
    const row = { ...content(name), version: at + 1, previousHash, hash };
    previousHash = hash;
    return row;
  });
}
const kinds = (log: Told[], archive: Kept[]) =>
  compareHistory(log, archive).map(({ kind, eventId }) => `${kind} ${eventId}`);

test("what both tell alike has no differences", () => {
  expect(kinds(told("a", "b", "c"), kept("a", "b", "c"))).toEqual([]);
  expect(kinds([], [])).toEqual([]);
});

test("an end that the log lost can be written back", () => {
  expect(kinds(told("a"), kept("a", "b", "c"))).toEqual(["missing-in-log b", "missing-in-log c"]);
  expect(kinds([], kept("a"))).toEqual(["missing-in-log a"]);
});

test("a row that is gone fits between its neighbours, wherever it was", () => {
  const rows = kept("a", "b", "c");
  for (const [at, id] of ["a", "b", "c"].entries()) {
    expect(kinds(told("a", "b", "c"), rows.toSpliced(at, 1))).toEqual([`missing-in-archive ${id}`]);
  }
  expect(kinds(told("a", "b", "c"), [])).toHaveLength(3);
});

test("a changed row is known by its own hash, and never believed", () => {
  const rows = kept("a", "b", "c").map((row) =>
    row.version === 2 ? { ...row, body: Buffer.from("forged") } : row,
  );
  expect(kinds(told("a", "b", "c"), rows)).toEqual(["row-changed b"]);
  // Without the log nobody can say what it was.
  expect(kinds([], rows)).toContain("chain-broken b");
});

test("a row that was changed together with its hash breaks the next link", () => {
  const rows = kept("a", "x", "c").map((row, at) =>
    at === 2 ? (kept("a", "b", "c")[2] ?? row) : row,
  );
  expect(kinds(told("a", "b", "c"), rows).length).toBeGreaterThan(0);
});

test("two stories are a dispute, and no side is chosen", () => {
  expect(kinds(told("a", "new"), kept("a", "b", "c"))).toEqual(["different b", "missing-in-log c"]);
  const other = [{ ...content("a", "other bytes"), sequence: 1 }];
  expect(compareHistory(other, kept("a"))).toMatchObject([
    { kind: "different", detail: "the same event with another body" },
  ]);
});

test("a hole in the log is no end that can be written back", () => {
  expect(kinds(told("a", "c"), kept("a", "b", "c"))).toEqual(["out-of-order b"]);
});

test("whatever is cut out of the archive is found, and nothing else", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 12 }),
      fc.array(fc.integer({ min: 0, max: 11 })),
      (length, cuts) => {
        const names = Array.from({ length }, (_, at) => `e${at}`);
        const left = kept(...names).filter((_, at) => !cuts.includes(at));
        const found = compareHistory(told(...names), left);
        const gone = names.filter((_, at) => cuts.includes(at));
        const whole = found.every(
          ({ kind }) => kind === "missing-in-archive" || kind === "chain-broken",
        );
        return whole && found.length === gone.length;
      },
    ),
  );
});
