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
  /** How often a limit has room for one more. */
  readonly everyMs?: number;
};

type Asked = {
  readonly leases: Leases;
  readonly job: AnyJob;
  readonly input: unknown;
  readonly tenant: string;
  readonly jobId: string;
  /** Told each slot as soon as it is taken. */
  readonly hold: (leases: readonly Lease[]) => void;
  /** Told how to give back what was charged, when something was. */
  readonly charged?: (giveBack: GiveBack) => void;
};

export type GiveBack = () => Promise<void>;

const limitsOf = (job: AnyJob, input: unknown) => [job.rateLimit?.(input) ?? []].flat();

/**
 * Slots first, because they are given back when something else refuses; limits last, because they are charged for good.
 * Undefined: the job may start.
 */
export async function askTurn(
  turns: Turns | undefined,
  { leases, job, input, tenant, jobId, hold, charged }: Asked,
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
  if ("charged" in answer) {
    charged?.(answer.giveBack);
    return undefined;
  }
  if (circuit !== undefined) await turns.circuits.settle(circuit, jobId, "neither");
  const { refusedBy, until: at, everyMs } = answer;
  return { reason: "limit", key: `${refusedBy.name} ${refusedBy.key}`, at, everyMs };
}

/** These are this process's, the broker's or somebody else's trouble, not the host's. */
const notOfHost = new Set([
  ...["lease-lost", "fenced", "log-unavailable", "lock-busy", "worker-stopping"],
  ...["signer-unavailable", "service-unavailable", "deadline-exceeded", "call-cancelled"],
  ...["too-many-requests", "read-model-behind", "unexpected"],
]);
/** The CA, the name servers, the vault. */
const elsewhere = /^(?:acme|dns|aaaa|caa|proxy|repo)-/;

/** What an attempt's end says about the host. */
export function saysOf(state: JobState, attempt: number): "worked" | "failed" | "neither" {
  const outcome = outcomeOf(state, attempt);
  // Who skips may never have asked the host, so it proves nothing about it.
  if (outcome === "completed") return "worked";
  if (outcome !== "failed" && outcome !== "retrying") return "neither";
  const { code = "", kind = "" } = state.failure ?? {};
  const isOfHost = !notOfHost.has(code) && !elsewhere.test(code);
  return (kind === "transient" || kind === "unknown") && isOfHost ? "failed" : "neither";
}

/** What an attempt leaves to be told and given back when it has ended. */
type Judging = {
  readonly circuit: string | undefined;
  readonly jobId: string;
  readonly attempt: number;
  /** Of the limits that the attempt was charged to; undefined when there are none. */
  readonly giveBack: GiveBack | undefined;
};

/** Runs an attempt, tells the job's circuit how it went, and gives back the limits of one that did nothing. */
export async function judged<T>(
  turns: Turns | undefined,
  { circuit, jobId, attempt, giveBack }: Judging,
  { state, work }: { state: () => JobState; work: () => Promise<T> },
): Promise<T> {
  if (!turns || (circuit === undefined && !giveBack)) return work();
  let how: "worked" | "failed" | "neither" = "neither";
  let isIdle = false;
  try {
    const answer = await work();
    const outcome = outcomeOf(state(), attempt);
    isIdle = outcome === "deferred" || outcome === "skipped";
    how = saysOf(state(), attempt);
    return answer;
  } finally {
    // A circuit or a limit that cannot be told is no reason to repeat what was done.
    if (circuit !== undefined) await turns.circuits.settle(circuit, jobId, how).catch(() => {});
    if (isIdle) await giveBack?.().catch(() => {});
  }
}
