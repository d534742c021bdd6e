import { expect, test } from "vitest";
import { containsSecret, Secret } from "./secret.ts";

test("a secret is found however deep it sits, and nowhere else", () => {
  const secret = new Secret("s");
  const round: { self?: unknown; at?: unknown } = {};
  round.self = round;
  for (const value of [secret, [secret], { a: { b: [1, secret] } }, new Map([[secret, 1]])]) {
    expect(containsSecret(value)).toBe(true);
  }
  for (const value of [undefined, null, "s", 1, [], { a: null }, Buffer.alloc(9), round]) {
    expect(containsSecret(value)).toBe(false);
  }
  round.at = new Map([["key", { secret }]]);
  expect(containsSecret(round)).toBe(true);
});
