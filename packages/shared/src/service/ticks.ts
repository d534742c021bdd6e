/** Ticks: regular work that one replica does at a time. */
import { setTimeout as sleep } from "node:timers/promises";
import type { Logger } from "../telemetry/logger.ts";
import type { Tick } from "./app.ts";
import type { Postgres } from "./postgres.ts";

/**
 * Runs a tick at once and then `everyMs` after each end, on the replica that gets its lock, until the signal aborts.
 * A tick that throws is logged and runs again at its next time.
 */
export async function runTick(
  tick: Tick,
  postgres: Pick<Postgres, "exclusively">,
  logger: Logger,
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    try {
      await postgres.exclusively(`tick:${tick.name}`, () => tick.run(signal));
    } catch (err) {
      if (!signal.aborted) logger.error({ err, tick: tick.name }, "tick failed");
    }
    await sleep(tick.everyMs, undefined, { ref: false, signal }).catch(() => {});
  }
}
