/** Time as an argument: what the engine waits on, so that tests never sleep. */

export type Clock = {
  now(): Date;
  /** Calls back once after so many milliseconds; answers how to take it back. Keeps no process alive by itself. */
  after(delayMs: number, call: () => void): () => void;
};

/** The clock of the machine. */
export const systemClock: Clock = {
  now: () => new Date(),
  after(delayMs, call) {
    const timer = setTimeout(call, delayMs);
    timer.unref();
    return () => clearTimeout(timer);
  },
};

/** Waits; ends early, without throwing, when the signal aborts. */
export function sleep(clock: Clock, delayMs: number, signal?: AbortSignal): Promise<void> {
  if (signal?.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const end = () => {
      cancel();
      signal?.removeEventListener("abort", end);
      resolve();
    };
    const cancel = clock.after(delayMs, end);
    signal?.addEventListener("abort", end, { once: true });
  });
}
