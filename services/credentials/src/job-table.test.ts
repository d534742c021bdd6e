import { expect, test } from "vitest";
import { rotateKey } from "./rotate-key.ts";

test("a rotation has 3 tries and 300 s each, on the queue high", () => {
  const made = rotateKey({} as never);
  expect(made).toMatchObject({ queue: "high", tries: 3, timeoutMs: 300_000 });
});
