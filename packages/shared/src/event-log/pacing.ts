/** Which way of writing is faster here and now: each append alone, or in groups. Learned, since no broker tells. */

export type Mode = "alone" | "group";

export type Pacing = {
  /** How to write at this load, which is the number of appends under way or waiting, this one included. */
  mode(load: number): Mode;
  /** So many messages were stored; `load` counts those who asked for it, too. */
  settled(messages: number, load: number): void;
};

/** Below this load groups are too small to be worth their price, so nothing waits for company. */
const busyFrom = 32;
/** Long enough for several groups; a load that fell for less than this is still one. */
const windowMs = 40;
/** How often the slower way is tried again: the disk, the broker and the load change. */
const retryEvery = 24;
/** Groups must be clearly faster: all their members wait for the slowest. */
const margin = 1.1;

const other: Readonly<Record<Mode, Mode>> = { alone: "group", group: "alone" };

/** Compares the two by what was stored while there was enough to do. `now` is a monotonic clock in ms. */
export function pacing(now: () => number): Pacing {
  const rates: Record<Mode, number> = { alone: 0, group: 0 };
  let chosen: Mode = "group";
  let busyAt = Number.NEGATIVE_INFINITY;
  let beganAt = Number.NEGATIVE_INFINITY;
  let stored = 0;
  let windows = 0;

  function isBusy(load: number): boolean {
    const time = now();
    if (load >= busyFrom) {
      if (time - busyAt > windowMs) {
        beganAt = time;
        stored = 0;
      }
      busyAt = time;
    }
    return time - busyAt <= windowMs;
  }
  function next(): Mode {
    if (rates[other[chosen]] === 0 || windows % retryEvery === 0) return other[chosen];
    return rates.group > rates.alone * margin ? "group" : "alone";
  }
  return {
    mode: (load) => (isBusy(load) ? chosen : "alone"),
    settled(messages, load) {
      if (!isBusy(load)) return;
      stored += messages;
      const elapsedMs = now() - beganAt;
      if (elapsedMs < windowMs) return;
      const rate = stored / elapsedMs;
      rates[chosen] = rates[chosen] === 0 ? rate : (rates[chosen] + rate) / 2;
      windows += 1;
      chosen = next();
      beganAt = now();
      stored = 0;
    },
  };
}
