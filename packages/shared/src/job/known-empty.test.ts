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

test("a look right after a change is trusted for as long as it came after it: what was announced may not be there yet", () => {
  const { time, queues } = known();
  queues.changed("high");
  queues.look("high")(true);
  expect(queues.isEmpty("high")).toBe(false);
  time.ms = 20;
  queues.look("high")(true);
  time.ms = 39;
  expect(queues.isEmpty("high")).toBe(true);
  time.ms = 40;
  expect(queues.isEmpty("high")).toBe(false);
});

test("the quiet since the last change of any queue is told", () => {
  const { time, queues } = known();
  expect(queues.quietMs()).toBe(Number.POSITIVE_INFINITY);
  queues.changed("low");
  time.ms = 30;
  queues.look("high")(true);
  expect(queues.quietMs()).toBe(30);
});
