import { expect, test } from "vitest";
import { type AuditFacts, emptyHead, entriesOf, headOf, link, verifier } from "./chain.ts";

const fact = (id: string): AuditFacts => ({
  ...{ id, at: "2026-11-24T12:00:00.000Z", actor: "ann", service: "ssl", action: "/a.b/C" },
  ...{ outcome: "asked", code: "", requestId: "", reason: "because", resources: { siteId: "s1" } },
});
const whole = link("acme", emptyHead("acme"), ["a", "b", "c", "d"].map(fact));
const lines = whole.body.split("\n");
const verified = (body: readonly string[], anchor = whole.head) => {
  const chain = verifier("acme", { anchor });
  return chain.take(body.join("\n")) ?? chain.end();
};

test("a chain that was not touched is whole, however it is cut into messages", () => {
  expect(verified(lines)).toBeUndefined();
  const chain = verifier("acme");
  for (const line of lines) expect(chain.take(line)).toBeUndefined();
  expect(chain.head).toEqual(whole.head);
  expect(headOf(whole.body)).toEqual(whole.head);
  const later = link("acme", whole.head, [fact("e")]);
  expect(verifier("acme", { from: whole.head }).take(later.body)).toBeUndefined();
  expect(entriesOf(whole.body).map(({ id, number }) => [id, number])).toEqual([
    ["a", 1],
    ["b", 2],
    ["c", 3],
    ["d", 4],
  ]);
});

test("case 80: whatever entry is changed, removed or inserted, the first broken one is named", () => {
  for (const index of lines.keys()) {
    const changed = lines.with(index, (lines[index] ?? "").replace("because", "just so"));
    expect(verified(changed)?.number, `changed ${index}`).toBe(index + 1);
    expect(verified(lines.toSpliced(index, 1))?.number, `removed ${index}`).toBe(index + 1);
    const strange = link("acme", { number: index, hash: "0".repeat(64) }, [fact("x")]).body;
    const inserted = verified(lines.toSpliced(index, 0, strange))?.number;
    expect([Math.max(1, index), index + 1], `inserted at ${index}`).toContain(inserted);
  }
});

test("case 80: a tail that was cut off, and a chain forged anew, miss the anchor", () => {
  expect(verified(lines.slice(0, 2))).toEqual({
    number: 3,
    problem: "is missing, and all up to 4",
  });
  const forged = link("acme", emptyHead("acme"), ["a", "b", "x", "d"].map(fact));
  expect(verified(forged.body.split("\n"))).toMatchObject({ number: 4 });
  expect(verified([])).toMatchObject({ number: 1 });
});

test("entries of another tenant, and lines that are no entries, are named", () => {
  const foreign = link("evil", emptyHead("acme"), [fact("a")]).body;
  expect(verifier("acme").take(foreign)).toEqual({ number: 1, problem: "is of another tenant" });
  expect(verifier("acme").take("{")).toEqual({ number: 1, problem: "is no entry" });
  expect(verifier("acme").take((lines[0] ?? "").replace(":", ": "))).toMatchObject({ number: 1 });
});
