/** How long a worker goes on, and from which queues it takes. Pure: what it looked at is an argument. */
import type { Queue } from "./job.ts";

/** Why a worker ended by itself. */
export type StopReason = "memory" | "empty" | "max-time" | "max-jobs";

export type WorkLimits = {
  /** Asked strictly in this order, but for ageing (`pollOrder`); others are left alone. At least one. */
  readonly queues: readonly Queue[];
  /** Ends at the first look that finds nothing in any of the queues. */
  readonly stopWhenEmpty: boolean;
  /** Jobs taken, whatever becomes of them. */
  readonly maxJobs?: number | undefined;
  /** Since the start; looked at between jobs. */
  readonly maxTimeMs?: number | undefined;
  /** Resident memory of the process; looked at between jobs. */
  readonly memoryBytes?: number | undefined;
};

/** A worker that goes on for ever, on all queues. */
export const noLimits: WorkLimits = { queues: ["high", "default", "low"], stopWhenEmpty: false };

/** What a worker knows of itself between two jobs. */
export type Seen = {
  readonly taken: number;
  readonly elapsedMs: number;
  readonly memoryBytes: number;
  /** The last look found nothing. */
  readonly foundEmpty: boolean;
};

/** Why it has to end now, if it has to. When several hold: memory, empty, max-time, max-jobs. */
export function reasonToStop(limits: WorkLimits, seen: Seen): StopReason | undefined {
  const { maxJobs, maxTimeMs, memoryBytes, stopWhenEmpty } = limits;
  if (memoryBytes !== undefined && seen.memoryBytes >= memoryBytes) return "memory";
  if (stopWhenEmpty && seen.foundEmpty) return "empty";
  if (maxTimeMs !== undefined && seen.elapsedMs >= maxTimeMs) return "max-time";
  if (maxJobs !== undefined && seen.taken >= maxJobs) return "max-jobs";
  return undefined;
}

/** How many jobs it may take now: free places, and no more than may still be taken. */
export const placesLeft = (
  { maxJobs }: WorkLimits,
  now: { concurrency: number; running: number; taken: number },
): number =>
  Math.max(0, Math.min(now.concurrency - now.running, (maxJobs ?? Infinity) - now.taken));

/** 12 when its memory ran out, as workers of Laravel answer; every other end is in order. */
export const exitCodeOf = (reason: StopReason): number => (reason === "memory" ? 12 : 0);
