/** The work queue's port: items that point at journals. A hint, never the truth: all of it may be lost. */
import type { Entry } from "../event-log/event-log.ts";
import type { Queue } from "./job.ts";

/** Where one job stands in the queue. */
export type WorkItem = {
  readonly family: string;
  readonly queue: Queue;
  readonly tenant: string;
  readonly jobId: string;
  /**
   * The journal's first entry, to save its worker the reading. Only a hint: what a worker does because of it begins
   * with an append that fails when the journal holds more.
   */
  readonly queued?: Entry | undefined;
};

/** An item in a worker's hands. It comes back by itself when `working` is not called for 30 s. */
export type Delivery = WorkItem & {
  /** How often it was delivered; says nothing about attempts. */
  readonly deliveries: number;
  working(): void;
  /** Done with the item. Fails with `log-unavailable` when the broker did not confirm. */
  ack(): Promise<void>;
  /** Deliver it again after so long, at most 5 s: a waiting item holds one of the queue's slots. */
  nak(delayMs: number): void;
  /** Puts the item away for a person to look at, with a failure code and a sentence why, and is done with it. */
  quarantine(code: string, reason: string): Promise<void>;
};

export type TakeFrom = {
  /** Only from these, in this order; default high, default, low. */
  readonly queues?: readonly Queue[];
  /** Default true. */
  readonly wait?: boolean;
};

export type WorkQueue = {
  /**
   * Puts an item in, in the place of one that waits there. `cause` is the sequence of the journal entry behind it:
   * the same cause twice within 2 min is one item.
   */
  publish(item: WorkItem, cause: number): Promise<void>;
  /** As `publish`, but only when the job has no item there, waiting or in flight; false otherwise. */
  publishIfAbsent(item: WorkItem, cause: number): Promise<boolean>;
  /** The item comes at a time (now or past: within 0.3 s); replaces the job's pending schedule. */
  schedule(item: WorkItem, at: Date, cause: number): Promise<void>;
  /** What the queue holds of a job now. */
  presence(item: WorkItem): Promise<"item" | "schedule" | "nothing">;
  /**
   * 1 to `max` items, strictly high before default before low; every eighth time low and default come first, so that
   * nothing starves for ever. Waits until there is one; empty when the signal aborts, or at once with `wait: false`.
   */
  take(max: number, signal: AbortSignal, from?: TakeFrom): Promise<readonly Delivery[]>;
  /** Ends the listening for wake-ups. */
  close(): void;
};

/** High before default before low. */
export const strictOrder: readonly Queue[] = ["high", "default", "low"];
const agedEvery = 8;

/** The order in which poll number `poll` (from 1) asks the queues: as given, every eighth time backwards. */
export const pollOrder = (
  poll: number,
  queues: readonly Queue[] = strictOrder,
): readonly Queue[] => (poll % agedEvery === 0 ? queues.toReversed() : queues);
