import { expect, test } from "vitest";
import { type Mode, pacing } from "./pacing.ts";

/** Appends 100 at a time for so long, when each way stores so many messages a millisecond. */
function driven(speeds: Record<Mode, number>) {
  let time = 0;
  const pace = pacing(() => time);
  const spent = { alone: 0, group: 0 };
  return (forMs: number): typeof spent => {
    Object.assign(spent, { alone: 0, group: 0 });
    for (const end = time + forMs; time < end; time += 5) {
      const mode = pace.mode(100);
      spent[mode] += 5;
      pace.settled(speeds[mode] * 5, 100);
    }
    return spent;
  };
}

test("under load the faster way is found and kept, and the other tried now and then", () => {
  for (const [speeds, better, worse] of [
    [{ alone: 6, group: 20 }, "group", "alone"],
    [{ alone: 30, group: 10 }, "alone", "group"],
  ] as const) {
    const drive = driven(speeds);
    drive(1_000);
    const spent = drive(10_000);
    expect(spent[better]).toBeGreaterThan(9_000);
    expect(spent[worse]).toBeGreaterThan(0);
  }
});

test("ways that are equally fast leave every append alone", () => {
  const drive = driven({ alone: 10, group: 10 });
  drive(1_000);
  expect(drive(10_000).alone).toBeGreaterThan(9_000);
});

test("what became faster is found again", () => {
  const speeds = { alone: 6, group: 20 };
  const drive = driven(speeds);
  drive(2_000);
  speeds.alone = 40;
  drive(10_000);
  expect(drive(10_000).alone).toBeGreaterThan(9_000);
});

test("below the load of a group nothing waits", () => {
  const pace = pacing(() => 0);
  expect([1, 8, 31].map((load) => pace.mode(load))).toEqual(["alone", "alone", "alone"]);
  expect(pace.mode(32)).toBe("group");
});
