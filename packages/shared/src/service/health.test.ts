import { expect, test } from "vitest";
import { createLogger } from "../telemetry/logger.ts";
import { failing, watchHealth } from "./health.ts";
import { runTick } from "./ticks.ts";

const logger = createLogger({ service: "test", level: "silent" });
const fine = { name: "fine", run: async () => {} };

test("a check that throws, and one that never answers, are named", async () => {
  const broken = { name: "broken", run: () => Promise.reject(new Error("no")) };
  const silent = { name: "silent", run: () => new Promise<void>(() => {}) };
  expect(await failing([fine, broken, silent], 5)).toEqual(["broken", "silent"]);
  expect(await failing([fine], 5)).toEqual([]);
});

test("only changes of health are told", async () => {
  const stop = new AbortController();
  const results = [true, true, false, false, true];
  const told: boolean[] = [];
  const run = async () => {
    const result = results.shift();
    if (results.length === 0) stop.abort();
    if (!result) throw new Error("no");
  };
  await watchHealth({
    checks: [{ name: "one", run }],
    everyMs: 1,
    signal: stop.signal,
    logger,
    setServing: (isServing) => told.push(isServing),
  });
  expect(told).toEqual([true, false]);
});

test("a tick runs under its lock, again after it failed, and not after the stop", async () => {
  const stop = new AbortController();
  const locks: string[] = [];
  let runs = 0;
  const exclusively = async (name: string, work: () => Promise<void>) => {
    locks.push(name);
    await work();
    return true;
  };
  const run = async () => {
    runs += 1;
    if (runs === 1) throw new Error("first time");
    stop.abort();
  };
  await runTick({ name: "renew", everyMs: 1, run }, { exclusively }, logger, stop.signal);
  expect(runs).toBe(2);
  expect(locks).toEqual(["tick:renew", "tick:renew"]);
});
