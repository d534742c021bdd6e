import { expect, test } from "vitest";
import { randomPool } from "./random-pool.ts";

/** Draws that can be told apart: the first one all 1, the second all 2, … */
function draws() {
  let drawn = 0;
  const sizes: number[] = [];
  const draw = (bytes: number) => {
    drawn += 1;
    sizes.push(bytes);
    return Buffer.from(Uint8Array.from({ length: bytes }, (_, at) => drawn * 100 + at));
  };
  return { draw, sizes };
}

test("every byte is given out once, and one draw serves many", () => {
  const { draw, sizes } = draws();
  const random = randomPool(draw, 64);
  const given = Array.from({ length: 12 }, () => [...random(5)]);
  // Twelve fives fit into 64 bytes.
  expect(sizes).toEqual([64]);
  expect(new Set(given.flat()).size).toBe(60);
});

test("what was given stays as it is when the pool is drawn anew", () => {
  const { draw, sizes } = draws();
  const random = randomPool(draw, 64);
  const first = random(8);
  const before = [...first];
  for (let times = 0; times < 20; times += 1) random(8);
  expect(sizes.length).toBeGreaterThan(1);
  expect([...first]).toEqual(before);
});

test("more than a part of the pool is drawn for itself", () => {
  const { draw, sizes } = draws();
  const random = randomPool(draw, 64);
  random(2);
  expect(random(9)).toHaveLength(9);
  expect(sizes).toEqual([64, 9]);
  random(2);
  expect(sizes).toEqual([64, 9]);
});

test("the system's bytes differ from one time to the next", () => {
  const random = randomPool();
  expect(new Set(Array.from({ length: 2_000 }, () => random(12).toString("hex"))).size).toBe(2_000);
});
