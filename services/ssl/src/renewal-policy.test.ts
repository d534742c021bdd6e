import fc from "fast-check";
import { expect, test } from "vitest";
import {
  isOvertaken,
  nextLookMs,
  planRenewal,
  renewalByLifetime,
  renewalDay,
  renewalJobId,
  spreadOf,
} from "./renewal-policy.ts";

const dayMs = 86_400_000;
const start = new Date("2026-11-01T00:00:00Z");
const life = (days: number) => ({
  notBefore: start,
  notAfter: new Date(start.getTime() + days * dayMs),
});
const days = (date: Date): number => (date.getTime() - start.getTime()) / dayMs;

const anyLife = fc.integer({ min: 1, max: 400 * 24 }).map((hours) => life(hours / 24));
const anyRandom = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
const anyWindow = fc
  .record({ from: fc.integer({ min: -400, max: 800 }), width: fc.integer({ min: 1, max: 400 }) })
  .map(({ from, width }) => ({
    start: new Date(start.getTime() + from * dayMs),
    end: new Date(start.getTime() + (from + width) * dayMs),
  }));

test("a 90-day certificate is renewed at two thirds, a 6-day one at half", () => {
  expect(days(renewalByLifetime(life(90), 0))).toBe(60);
  expect(days(renewalByLifetime(life(6), 0))).toBe(3);
  expect(days(renewalByLifetime(life(64), 0))).toBeCloseTo(42.667, 2);
});

test("the lifetime's renewal lies in the last fiftieth before its share, whatever the lifetime", () => {
  fc.assert(
    fc.property(anyLife, anyRandom, (lifetime, random) => {
      const whole = lifetime.notAfter.getTime() - lifetime.notBefore.getTime();
      const share = whole < 10 * dayMs ? 1 / 2 : 2 / 3;
      const at = (renewalByLifetime(lifetime, random).getTime() - start.getTime()) / whole;
      expect(at).toBeLessThanOrEqual(share + 1e-6);
      expect(at).toBeGreaterThanOrEqual(share - 1 / 50 - 1e-6);
    }),
  );
});

test("the CA's window decides, inside the window and never past five sixths of the lifetime", () => {
  fc.assert(
    fc.property(anyLife, anyWindow, anyRandom, (lifetime, window, random) => {
      const { renewAt, basis } = planRenewal(lifetime, window, random);
      const whole = lifetime.notAfter.getTime() - lifetime.notBefore.getTime();
      const latest = lifetime.notBefore.getTime() + Math.round((whole * 5) / 6);
      expect(basis).toBe("ari");
      expect(renewAt.getTime()).toBeLessThanOrEqual(latest);
      expect(renewAt.getTime()).toBeLessThanOrEqual(window.end.getTime());
      if (window.start.getTime() <= latest) {
        expect(renewAt.getTime()).toBeGreaterThanOrEqual(window.start.getTime());
      }
    }),
  );
});

test("instants are spread evenly over the window", () => {
  const window = {
    start: new Date(start.getTime() + 10 * dayMs),
    end: new Date(start.getTime() + 20 * dayMs),
  };
  const found = [0, 0.25, 0.5, 0.75].map((random) =>
    days(planRenewal(life(90), window, random).renewAt),
  );
  expect(found).toEqual([10, 12.5, 15, 17.5]);
});

test("without a window the lifetime decides", () => {
  expect(planRenewal(life(90), null, 0)).toMatchObject({ basis: "lifetime" });
  expect(days(planRenewal(life(90), null, 0).renewAt)).toBe(60);
});

test("a text gives a number from 0 to 1, always the same and evenly spread", () => {
  fc.assert(
    fc.property(fc.string(), (text) => {
      const number = spreadOf(text);
      expect(number).toBeGreaterThanOrEqual(0);
      expect(number).toBeLessThan(1);
      expect(spreadOf(text)).toBe(number);
    }),
  );
  const numbers = Array.from({ length: 1_000 }, (_, index) => spreadOf(`site-${index}`));
  const lower = numbers.filter((number) => number < 0.25).length;
  expect(lower).toBeGreaterThan(200);
  expect(lower).toBeLessThan(300);
});

test("DNS is asked ever more rarely, never sooner than at first and at least daily", () => {
  const minuteMs = 60_000;
  const hours = [0, 1, 8, 48, 2_000].map(
    (waited) =>
      nextLookMs(15 * minuteMs, start, new Date(start.getTime() + waited * 60 * minuteMs)) /
      minuteMs,
  );
  expect(hours).toEqual([15, 15, 60, 360, 1_440]);
});

test("a job of the sweep is overtaken by those of later days only", () => {
  const renewable = { tenant: "t", siteId: "site-1", serial: "77" };
  const today = renewalDay(start, new Date(start.getTime() + 3.5 * dayMs));
  expect(today).toBe(3);
  const found = [0, 1, 2, 3, 4].map((day) =>
    isOvertaken(renewalJobId(renewable, day), renewable, today),
  );
  expect(found).toEqual([true, true, true, false, false]);
  expect(isOvertaken("asked-by-a-person", renewable, today)).toBe(false);
});
