import { given } from "@chom/shared/aggregate/given";
import { expect, test } from "vitest";
import { alert, alertId, type Observation } from "./alert.ts";
import { busyOf, wasBusy } from "./queue-sizes.ts";
import { attemptsMax, retryInMs } from "./deliver-alerts.ts";
import { defaultThresholds, judged, type Measurements, observationsOf } from "./rules.ts";

const { AlertRaised, AlertResolved } = alert.events;
const seen = (value: number, threshold = 10): Observation => {
  const measured = { tenant: "t", rule: "failed-jobs", subject: "all", value, threshold };
  const { tenant: _, ...observation } = judged(measured, "m");
  return observation;
};
const facts = { rule: "failed-jobs", subject: "all", threshold: 10, message: "m" };
const raised = AlertRaised({ ...facts, value: 11, episode: 1 });
const resolved = AlertResolved({ ...facts, value: 8, episode: 1, raisedAt: new Date(0) });

test("an alert is raised when its threshold is crossed, and only then", () => {
  expect(given(alert).when("observe", seen(10))).toEqual([]);
  expect(given(alert).when("observe", seen(11))).toMatchObject([
    { name: "AlertRaised", data: { value: 11, threshold: 10, episode: 1 } },
  ]);
  expect(given(alert, raised).when("observe", seen(500))).toEqual([]);
});

test("it is resolved clearly below the threshold, not at its edge", () => {
  expect(given(alert, raised).when("observe", seen(9))).toEqual([]);
  expect(given(alert, raised).when("observe", seen(8))).toMatchObject([
    { name: "AlertResolved", data: { value: 8, episode: 1 } },
  ]);
  expect(given(alert, raised, resolved).when("observe", seen(0))).toEqual([]);
});

test("a second time is a second episode of the same alert", () => {
  expect(given(alert, raised, resolved).when("observe", seen(12))).toMatchObject([
    { name: "AlertRaised", data: { episode: 2 } },
  ]);
  expect(alertId("failed-jobs", "all")).toBe(alertId("failed-jobs", "all"));
  expect(alertId("failed-jobs", "all")).not.toBe(alertId("failed", "jobs-all"));
});

const nothing: Measurements = {
  ...{
    failed: [],
    lost: [],
    unaccepted: [],
    depths: [],
    durations: [],
    workers: [],
    quarantined: 0,
    rotations: [],
    denials: [],
  },
};
const high = (measured: Partial<Measurements>) =>
  observationsOf({ ...nothing, ...measured }, defaultThresholds)
    .filter(({ isHigh }) => isHigh)
    .map(({ tenant, rule, subject }) => [tenant, rule, subject].join(" "));

test("the spec's thresholds are the defaults, and none is broken by its own limit", () => {
  const mb = 1024 * 1024;
  const slow = { name: "backup.create", recentMs: 0, usualMs: 0 };
  expect(high({ failed: [{ tenant: "acme", count: 10 }] })).toEqual([]);
  expect(high({ failed: [{ tenant: "acme", count: 11 }] })).toEqual(["acme failed-jobs all"]);
  expect(high({ depths: [{ family: "ssl", queue: "low", count: 1_000 }] })).toEqual([]);
  expect(high({ depths: [{ family: "ssl", queue: "low", count: 1_001 }] })).toEqual([
    "platform queue-depth ssl.low",
  ]);
  expect(high({ durations: [{ ...slow, runningMs: 60_000 }] })).toEqual([]);
  expect(high({ durations: [{ ...slow, runningMs: 61_000 }] })).toEqual([
    "platform processing-time backup.create",
  ]);
  expect(high({ workers: [{ worker: "ssl@h.1", rssBytes: 256 * mb }] })).toEqual([]);
  expect(high({ workers: [{ worker: "ssl@h.1", rssBytes: 257 * mb }] })).toEqual([
    "platform worker-memory ssl@h.1",
  ]);
  expect(high({ rotations: [{ tenant: "acme", serverId: "s", code: "c" }] })).toEqual([
    "acme key-rotation s",
  ]);
  expect(high({ quarantined: 1, lost: [{ tenant: "acme", count: 1 }] })).toEqual([
    "acme worker-lost all",
    "platform quarantined all",
  ]);
  expect(high({ denials: [{ service: "ssl", count: 5 }] })).toEqual([]);
  expect(high({ denials: [{ service: "ssl", count: 6 }] })).toEqual(["platform signer-denied ssl"]);
  expect(high({ unaccepted: [{ tenant: "acme", count: 1 }] })).toEqual([
    "acme requests-refused all",
  ]);
});

test("a job that nobody expects anything of is never late, a usually slow one is late later", () => {
  const name = "site.move";
  expect(high({ durations: [{ name, runningMs: 9e9, recentMs: 0, usualMs: 0 }] })).toEqual([]);
  const usual = { name: "backup.create", recentMs: 0, usualMs: 600_000 };
  expect(high({ durations: [{ ...usual, runningMs: 900_000 }] })).toEqual([]);
  expect(high({ durations: [{ ...usual, runningMs: 1_300_000 }] })).toHaveLength(1);
});

test("a queue is busy at its limit, and looking again never raises", () => {
  const sizes = (size: number) => ({
    queue: "default",
    size,
    pending: size,
    delayed: 0,
    reserved: 0,
  });
  expect(busyOf("t", sizes(99), 100)).toMatchObject({ isHigh: false, isLow: false });
  expect(busyOf("t", sizes(100), 100)).toMatchObject({ isHigh: true, isLow: false });
  expect(busyOf("t", sizes(80), 100)).toMatchObject({ isHigh: false, isLow: true });
  expect(busyOf("t", sizes(0), 1)).toMatchObject({ isHigh: false, isLow: true });
  const row = { tenant: "t", threshold: 100 } as Parameters<typeof wasBusy>[0];
  expect(wasBusy(row, sizes(500))).toMatchObject({ isHigh: false, isLow: false });
});

test("a webhook is tried ever more rarely, and given up in the end", () => {
  const delays = Array.from({ length: attemptsMax - 1 }, (_, index) => retryInMs(index + 1) ?? 0);
  expect(delays.slice(0, 3)).toEqual([5_000, 10_000, 20_000]);
  expect(Math.max(...delays)).toBe(900_000);
  expect(retryInMs(attemptsMax)).toBeUndefined();
});
