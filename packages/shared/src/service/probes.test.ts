import { expect, test } from "vitest";
import { type Condition, probeAnswer } from "./probes.ts";

const serving: Condition = { started: true, ready: true, draining: false, failed: [] };
const status = (path: string, change: Partial<Condition> = {}) =>
  probeAnswer(path, { ...serving, ...change })?.status;

test("a process that starts is alive, but neither started nor ready", () => {
  const starting = { started: false, ready: false };
  expect(status("/livez", starting)).toBe(200);
  expect(status("/startupz", starting)).toBe(503);
  expect(status("/readyz", starting)).toBe(503);
});

test("one whose broker is away is not ready, names the check, and stays alive", () => {
  const away = { ready: false, failed: ["broker"] };
  expect(status("/livez", away)).toBe(200);
  expect(status("/startupz", away)).toBe(200);
  const answer = probeAnswer("/readyz", { ...serving, ...away });
  expect(answer).toMatchObject({ status: 503, body: { failed: ["broker"] } });
});

test("one that drains is not ready although all is well", () => {
  expect(status("/readyz")).toBe(200);
  expect(status("/readyz", { draining: true })).toBe(503);
});

test("any other path is none", () => {
  expect(probeAnswer("/", serving)).toBeUndefined();
  expect(probeAnswer("/livez/..", serving)).toBeUndefined();
});
