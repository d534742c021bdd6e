/** A circuit breaker: opens after failures in a row of time, lets one probe through, closes on success. Pure. */

export type CircuitRule = {
  /** So many failures within the window open it. */
  readonly failures: number;
  readonly windowMs: number;
  /** How long it stays open before a probe. */
  readonly openMs: number;
  /** A probe that says nothing for so long is forgotten. */
  readonly probeMs: number;
};

export const defaultCircuit: CircuitRule = {
  failures: 5,
  windowMs: 300_000,
  openMs: 60_000,
  probeMs: 120_000,
};

export type Circuit = {
  /** When it failed, in ms, oldest first. */
  readonly failedAt: readonly number[];
  /** Until when nothing may pass; 0: closed. */
  readonly openUntil: number;
  /** Who tries whether it works again, and until when that counts. */
  readonly probe: { readonly by: string; readonly until: number } | undefined;
};

export const closed: Circuit = { failedAt: [], openUntil: 0, probe: undefined };

/** Whether `by` may pass now: as usual, as the one probe, or when to ask again. */
export function passOf(
  circuit: Circuit,
  { rule, nowMs, by }: { rule: CircuitRule; nowMs: number; by: string },
): { readonly circuit: Circuit } | { readonly untilMs: number } {
  const { openUntil, probe } = circuit;
  if (openUntil === 0) return { circuit };
  if (openUntil > nowMs) return { untilMs: openUntil };
  if (probe && probe.by !== by && probe.until > nowMs) {
    return { untilMs: Math.min(probe.until, nowMs + rule.openMs) };
  }
  return { circuit: { ...circuit, probe: { by, until: nowMs + rule.probeMs } } };
}

/** After something that passed ended. `neither`: it says nothing about the host. */
export function settledOf(
  circuit: Circuit,
  how: "worked" | "failed" | "neither",
  { rule, nowMs, by }: { rule: CircuitRule; nowMs: number; by: string },
): Circuit {
  if (how === "worked") return closed;
  const isProbe = circuit.probe?.by === by;
  if (how === "neither") return isProbe ? { ...circuit, probe: undefined } : circuit;
  const failedAt = [...circuit.failedAt.filter((at) => at > nowMs - rule.windowMs), nowMs].slice(
    -rule.failures,
  );
  if (circuit.openUntil > nowMs) return { ...circuit, failedAt };
  const opens = isProbe || failedAt.length >= rule.failures;
  if (!opens) return { ...circuit, failedAt };
  return { failedAt, openUntil: nowMs + rule.openMs, probe: undefined };
}
