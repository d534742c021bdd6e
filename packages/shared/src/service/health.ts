/** Health: whether what the service stands on answers; a service that cannot work says so before it is asked. */
import { setTimeout as sleep } from "node:timers/promises";
import type { Logger } from "../telemetry/logger.ts";

export type Check = { readonly name: string; readonly run: () => Promise<void> };

/** Runs every check, each bounded by `timeoutMs`; answers the names of those that failed. */
export async function failing(checks: readonly Check[], timeoutMs: number): Promise<string[]> {
  const results = await Promise.all(
    checks.map(async ({ name, run }) => {
      const cancel = new AbortController();
      const late = sleep(timeoutMs, "late" as const, { ref: false, signal: cancel.signal }).catch(
        () => "late" as const,
      );
      const done = run().then(
        () => "fine" as const,
        () => "failed" as const,
      );
      const result = await Promise.race([done, late]);
      cancel.abort();
      return result === "fine" ? [] : [name];
    }),
  );
  return results.flat();
}

/** A check that is asked rarely: between two times it keeps its last answer. */
export function rarely(check: Check, everyMs: number, now: () => number): Check {
  let last: { readonly at: number; readonly result: Promise<void> } | undefined;
  return {
    name: check.name,
    run: () => {
      if (!last || now() - last.at >= everyMs) {
        const result = check.run();
        result.catch(() => undefined);
        last = { at: now(), result };
      }
      return last.result;
    },
  };
}

/** Asks again and again until the signal aborts, and tells changes only. */
export async function watchHealth(options: {
  checks: readonly Check[];
  everyMs: number;
  signal: AbortSignal;
  logger: Logger;
  setServing: (isServing: boolean, failed: readonly string[]) => void;
}): Promise<void> {
  let wasServing: boolean | undefined;
  while (!options.signal.aborted) {
    const failed = await failing(options.checks, options.everyMs);
    if (options.signal.aborted) return;
    const isServing = failed.length === 0;
    if (isServing !== wasServing) {
      options.setServing(isServing, failed);
      if (!isServing) options.logger.warn({ failed }, "not serving");
      else if (wasServing === false) options.logger.info("serving again");
    }
    wasServing = isServing;
    await sleep(options.everyMs, undefined, { ref: false, signal: options.signal }).catch(() => {});
  }
}
