import { expect, test } from "vitest";
import { knownEmpty } from "./known-empty.ts";

function known() {
  const time = { ms: 0 };
  return { time, queues: knownEmpty(() => time.ms, 500) };
}

test("a queue nobody looked at is not taken for empty", () => {
  expect(known().queues.isEmpty("high")).toBe(false);
});

test("a queue that was emptied is empty until something changes, and no other one is", () => {
  const { queues } = known();
  queues.look("high")(true);
  expect(queues.isEmpty("high")).toBe(true);
  expect(queues.isEmpty("low")).toBe(false);
  queues.changed("low");
  expect(queues.isEmpty("high")).toBe(true);
  queues.changed("high");
  expect(queues.isEmpty("high")).toBe(false);
});

test("what came during a look was not seen by it", () => {
  const { queues } = known();
  const tell = queues.look("default");
  queues.changed("default");
  tell(true);
  expect(queues.isEmpty("default")).toBe(false);
});

test("a look that left something behind, or failed, says nothing of emptiness", () => {
  const { queues } = known();
  queues.look("low")(true);
  queues.look("low")(false);
  expect(queues.isEmpty("low")).toBe(false);
});

test("a look is trusted from its beginning, for its time only", () => {
  const { time, queues } = known();
  const tell = queues.look("high");
  time.ms = 100;
  tell(true);
  time.ms = 499;
  expect(queues.isEmpty("high")).toBe(true);
  time.ms = 500;
  expect(queues.isEmpty("high")).toBe(false);
});
