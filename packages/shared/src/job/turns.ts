/** Whether a job may start now, beside its leases: circuits, limits and slots. Waiting for them costs no attempt. */
import type { Circuits } from "../limit/circuits.ts";
import type { Limits } from "../limit/limits.ts";
import { type Caps, poolsOf, takeSlot } from "../limit/slots.ts";
import type { Lease, Leases } from "../lease/lease.ts";
import type { AnyJob } from "./job.ts";
import type { JobState } from "./job-state.ts";
import { outcomeOf } from "./work-report.ts";

export type Turns = {
  readonly limits: Limits;
  readonly circuits: Circuits;
  readonly caps: Caps;
};

/** Why not yet. */
export type NotYet = {
  readonly reason: "limit" | "circuit" | "slot";
  readonly key: string;
  /** When to ask again; undefined for a slot, whose release wakes. */
  readonly at?: Date;
};

type Asked = {
  readonly leases: Leases;
  readonly job: AnyJob;
  readonly input: unknown;
  readonly tenant: string;
  readonly jobId: string;
  /** Told each slot as soon as it is taken. */
  readonly hold: (leases: readonly Lease[]) => void;
};

const limitsOf = (job: AnyJob, input: unknown) => [job.rateLimit?.(input) ?? []].flat();

/**
 * Slots first, because they are given back when something else refuses; limits last, because they are charged for good.
 * Undefined: the job may start.
 */
export async function askTurn(
  turns: Turns | undefined,
  { leases, job, input, tenant, jobId, hold }: Asked,
): Promise<NotYet | undefined> {
  if (!turns) return undefined;
  for (const pool of poolsOf(turns.caps, tenant, job.server?.(input) ?? "")) {
    const slot = await takeSlot(leases, pool, jobId);
    if (!slot) return { reason: "slot", key: pool.key };
    hold([slot]);
  }
  const circuit = job.circuit?.(input);
  if (circuit !== undefined) {
    const passed = await turns.circuits.pass(circuit, jobId);
    if ("until" in passed) return { reason: "circuit", key: circuit, at: passed.until };
  }
  const wanted = limitsOf(job, input);
  if (wanted.length === 0) return undefined;
  const answer = await turns.limits.take(wanted);
  if ("charged" in answer) return undefined;
  if (circuit !== undefined) await turns.circuits.settle(circuit, jobId, "neither");
  const { name, key } = answer.refusedBy;
  return { reason: "limit", key: `${name} ${key}`, at: answer.until };
}

/** These are this process's or the broker's trouble, not the host's. */
const ours = new Set(["lease-lost", "fenced", "log-unavailable", "lock-busy", "worker-stopping"]);

/** What an attempt's end says about the host. */
export function saysOf(state: JobState, attempt: number): "worked" | "failed" | "neither" {
  const outcome = outcomeOf(state, attempt);
  if (outcome === "completed" || outcome === "skipped") return "worked";
  if (outcome !== "failed" && outcome !== "retrying") return "neither";
  const { code = "", kind = "" } = state.failure ?? {};
  return (kind === "transient" || kind === "unknown") && !ours.has(code) ? "failed" : "neither";
}

/** Runs an attempt and tells the job's circuit how it went. */
export async function judged<T>(
  turns: Turns | undefined,
  { circuit, jobId, attempt }: { circuit: string | undefined; jobId: string; attempt: number },
  { state, work }: { state: () => JobState; work: () => Promise<T> },
): Promise<T> {
  if (!turns || circuit === undefined) return work();
  let how: "worked" | "failed" | "neither" = "neither";
  try {
    const answer = await work();
    how = saysOf(state(), attempt);
    return answer;
  } finally {
    // A circuit that cannot be told is no reason to repeat what was done.
    await turns.circuits.settle(circuit, jobId, how).catch(() => {});
  }
}
