/** A clock that stands still until a test moves it. */
import type { Clock } from "../job/clock.ts";

export type FakeClock = Clock & {
  /** Calls what falls due until then, in order, letting promises settle in between. */
  advance(ms: number): Promise<void>;
  /** When the next callback is due, undefined when none waits. */
  nextAt(): Date | undefined;
};

/** Lets everything that only waits for promises go on. */
export const settled = async (): Promise<void> => {
  for (let turn = 0; turn < 3; turn += 1) await new Promise((done) => setImmediate(done));
};

/** Starts at 2026-01-01T00:00:00Z unless told. */
export function fakeClock(start: Date = new Date("2026-01-01T00:00:00Z")): FakeClock {
  let nowMs = start.getTime();
  let timers: { at: number; call: () => void }[] = [];
  const next = () => timers.toSorted((a, b) => a.at - b.at)[0];
  return {
    now: () => new Date(nowMs),
    after(delayMs, call) {
      const timer = { at: nowMs + Math.max(0, delayMs), call };
      timers.push(timer);
      return () => {
        timers = timers.filter((each) => each !== timer);
      };
    },
    nextAt() {
      const due = next();
      return due && new Date(due.at);
    },
    async advance(ms) {
      const until = nowMs + ms;
      await settled();
      for (let due = next(); due && due.at <= until; due = next()) {
        timers = timers.filter((each) => each !== due);
        nowMs = Math.max(nowMs, due.at);
        due.call();
        await settled();
      }
      nowMs = until;
      await settled();
    },
  };
}
