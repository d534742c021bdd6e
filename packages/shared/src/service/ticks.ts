/** Ticks: regular work that one replica does at a time. */
import { setTimeout as sleep } from "node:timers/promises";
import type { Logger } from "../telemetry/logger.ts";
import { gauge } from "../telemetry/metrics.ts";
import type { Tick } from "./app.ts";
import type { Postgres } from "./postgres.ts";

/** When each tick last ended well in this process. */
const succeededAt = new WeakMap<Tick, number>();

/** Shows how often ticks are due and when each last ended well here; until it did, when this process began. */
export function showTicks(ticks: readonly Tick[]): void {
  const began = Date.now();
  gauge("chom_tick_period_seconds", () =>
    ticks.map(({ name, everyMs }) => ({ value: everyMs / 1_000, labels: { tick: name } })),
  );
  gauge("chom_tick_success_timestamp_seconds", () =>
    ticks.map((tick) => ({
      value: (succeededAt.get(tick) ?? began) / 1_000,
      labels: { tick: tick.name },
    })),
  );
}

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
      await postgres.exclusively(`tick:${tick.name}`, async () => {
        await tick.run(signal);
        succeededAt.set(tick, Date.now());
      });
    } catch (err) {
      if (!signal.aborted) logger.error({ err, tick: tick.name }, "tick failed");
    }
    await sleep(tick.everyMs, undefined, { ref: false, signal }).catch(() => {});
  }
}
