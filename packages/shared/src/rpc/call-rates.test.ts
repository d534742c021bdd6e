import { expect, test } from "vitest";
import { classify, type Failure } from "../failure/failure.ts";
import { callRates } from "./call-rates.ts";
import type { Identity } from "./unary.ts";

const who = (tenant: string, actor: string, service?: string): Identity => ({
  ...{ tenant, actor, service, permissions: [], traceparent: "" },
});
const limits = { perCaller: 10, perTenant: 15, streamsPerCaller: 2 };

/** How many of `count` calls at one moment are let in, and the last refusal. */
function burst(
  rates: ReturnType<typeof callRates>,
  caller: Identity,
  count: number,
  nowMs: number,
) {
  let admitted = 0;
  let refusal: Failure | undefined;
  for (let call = 0; call < count; call += 1) {
    try {
      rates.admit(caller, nowMs);
      admitted += 1;
    } catch (error) {
      refusal = classify(error);
    }
  }
  return { admitted, refusal };
}

test("case 57: a caller has five seconds' worth at once, then the rate, and is told when to come back", () => {
  const rates = callRates(limits);
  const first = burst(rates, who("acme", "a"), 100, 1_000);
  expect(first.admitted).toBe(50);
  expect(first.refusal).toMatchObject({ code: "too-many-requests", retryAfterMs: 100 });
  expect(burst(rates, who("acme", "a"), 100, 1_099).admitted).toBe(0);
  expect(burst(rates, who("acme", "a"), 100, 1_100).admitted).toBe(1);
  expect(burst(rates, who("acme", "a"), 100, 2_100).admitted).toBe(10);
});

test("case 57: callers of a tenant share its rate, other tenants and services do not notice", () => {
  const rates = callRates(limits);
  const admitted = ["a", "b", "c"].map(
    (actor) => burst(rates, who("acme", actor), 100, 0).admitted,
  );
  expect(admitted).toEqual([50, 25, 0]);
  expect(burst(rates, who("other", "a"), 100, 0).admitted).toBe(50);
  expect(burst(rates, who("", "ssl", "ssl"), 100, 0).admitted).toBe(50);
  expect(burst(rates, who("", ""), 100, 0).admitted).toBe(100);
});

test("a clock that jumps back takes nothing away and gives nothing", () => {
  const rates = callRates(limits);
  expect(burst(rates, who("acme", "a"), 50, 10_000).admitted).toBe(50);
  expect(burst(rates, who("acme", "a"), 50, 0).admitted).toBe(0);
});

test("names beyond what is remembered cost no memory, and do not free who is being limited now", () => {
  const rates = callRates({ ...limits, perTenant: 100_000 });
  expect(burst(rates, who("acme", "late"), 50, 0).admitted).toBe(50);
  for (let name = 0; name < 30_000; name += 1) rates.admit(who("acme", `n${name}`), name);
  expect(burst(rates, who("acme", "fresh"), 100, 30_000).admitted).toBe(50);
});

test("case 57: a caller has so many streams open and no more, until one ends", () => {
  const rates = callRates(limits);
  const [first] = [rates.openStream(who("acme", "a")), rates.openStream(who("acme", "a"))];
  expect(() => rates.openStream(who("acme", "a"))).toThrow("more than 2 streams at once");
  rates.openStream(who("acme", "b"))();
  first();
  rates.openStream(who("acme", "a"));
  expect(() => rates.openStream(who("acme", "a"))).toThrow("streams");
});
