import { expect, test } from "vitest";
import { lifeLeft } from "./show-certificates.ts";

const at = (day: number) => new Date(Date.UTC(2026, 0, 1 + day));
const life = { notBefore: at(0), notAfter: at(90) };

test("what is left of a life goes from one to nothing, and never beyond", () => {
  expect(lifeLeft(life, at(-1))).toBe(1);
  expect(lifeLeft(life, at(45))).toBe(0.5);
  expect(lifeLeft(life, at(90))).toBe(0);
  expect(lifeLeft(life, at(200))).toBe(0);
});

test("a certificate that was never issued has nothing to lose; one without a life has nothing left", () => {
  expect(lifeLeft({ notBefore: null, notAfter: null }, at(0))).toBe(1);
  expect(lifeLeft({ notBefore: at(1), notAfter: at(1) }, at(0))).toBe(0);
});
