import { expect, test } from "vitest";
import { pollOrder } from "./work-queue.ts";

test("every eighth look goes the other way, so that low is never starved for ever", () => {
  const orders = Array.from({ length: 16 }, (_, index) => pollOrder(index + 1).join());
  expect(orders.filter((order) => order === "high,default,low")).toHaveLength(14);
  expect([orders[7], orders[15]]).toEqual(["low,default,high", "low,default,high"]);
});

test("listed queues are asked in their order, and no others, also when it is turned", () => {
  expect(pollOrder(1, ["low", "high"])).toEqual(["low", "high"]);
  expect(pollOrder(8, ["low", "high"])).toEqual(["high", "low"]);
});
