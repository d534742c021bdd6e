/** The doctor's rounds: the same checks without being asked, shown as gauges that alerts look at. */
import { setTimeout as sleep } from "node:timers/promises";
import type { Logger } from "../../telemetry/logger.ts";
import { gauge } from "../../telemetry/metrics.ts";
import type { Tick } from "../app.ts";
import type { Postgres } from "../postgres.ts";
import { runTick } from "../ticks.ts";
import { diagnose, type DoctorCheck, type Found } from "./check.ts";

const everyMs = 300_000;

/** How many findings of each check and severity there are; a check without any is a zero, so that its end is seen. */
export function tally(checks: readonly DoctorCheck[], found: readonly Found[]) {
  return checks.flatMap(({ name: check }) =>
    (["warning", "critical"] as const).map((severity) => ({
      value: found.filter((each) => each.check === check && each.severity === severity).length,
      labels: { check, severity },
    })),
  );
}

/** Makes all checks every five minutes and changes nothing. */
export function doctorRounds(checks: readonly DoctorCheck[], now: () => Date): Tick {
  let last: { readonly at: Date; readonly values: ReturnType<typeof tally> } | undefined;
  gauge("chom_doctor_findings", () => last?.values ?? []);
  gauge("chom_doctor_timestamp_seconds", () =>
    last ? [{ value: last.at.getTime() / 1_000, labels: {} }] : [],
  );
  return {
    name: "doctor",
    everyMs,
    async run() {
      const values = tally(checks, await diagnose(checks));
      last = { at: now(), values };
    },
  };
}

/**
 * Begins the rounds, with the first after one period: what has just begun looks ill. Answers how to end them; a round
 * under way is not waited for, since it changes nothing.
 */
export function beginRounds(
  rounds: Tick,
  postgres: Pick<Postgres, "exclusively">,
  logger: Logger,
): () => void {
  const stopping = new AbortController();
  const { signal } = stopping;
  sleep(rounds.everyMs, undefined, { ref: false, signal })
    .then(() => runTick(rounds, postgres, logger, signal))
    .catch(() => undefined);
  return () => stopping.abort();
}
