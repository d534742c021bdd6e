/** What every part of the job engine works with; made once per process. */
import type { EventLog } from "../event-log/event-log.ts";
import { permanent } from "../failure/failure.ts";
import type { Claims } from "../lease/claims.ts";
import { type Leases, leaseTtlMs, renewEveryMs } from "../lease/lease.ts";
import type { Tickets } from "../lease/tickets.ts";
import type { Servers } from "../script/servers.ts";
import type { Sealer } from "../secrets/sealer.ts";
import type { Logger } from "../telemetry/logger.ts";
import type { Admission } from "./admission.ts";
import type { Clock } from "./clock.ts";
import type { AnyJob } from "./job.ts";
import type { Turns } from "./turns.ts";
import type { WorkQueue } from "./work-queue.ts";
import type { WorkReport } from "./work-report.ts";

export type EngineSettings = {
  /** The service's name: journals, queue and event source are named after it. */
  readonly family: string;
  /** Names this process in journals, like `ssl@host.1234`. */
  readonly worker: string;
  readonly jobs: readonly AnyJob[];
  readonly log: EventLog;
  readonly queue: WorkQueue;
  readonly leases: Leases;
  readonly tickets: Tickets;
  readonly claims: Claims;
  readonly servers: Servers;
  readonly sealer: Sealer;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly newId: () => string;
  /** 0 to 1, for jitter. */
  readonly random: () => number;
  /** Limits, circuits and caps; without it jobs wait for nothing but their leases. */
  readonly turns?: Turns | undefined;
  /** Fairness between tenants; without it everything is queued at once. */
  readonly admission?: Admission | undefined;
  /** No attempt of this process takes longer, whatever its job was given; default no cap. */
  readonly attemptMaxMs?: number | undefined;
  /** Largest input that a dispatch takes, as canonical JSON; default 256 KiB, at most 512 KiB. */
  readonly payloadMaxBytes?: number | undefined;
  /** Told what this process works on; must not throw. */
  readonly report?: ((report: WorkReport) => void) | undefined;
};

export type Engine = Omit<EngineSettings, "jobs"> & { readonly jobs: ReadonlyMap<string, AnyJob> };

/** How long an attempt may take in this process, for a job that was queued with this timeout. */
export const attemptMs = ({ attemptMaxMs = Infinity }: Engine, timeoutMs: bigint | undefined) =>
  Math.min(Number(timeoutMs ?? 0n), attemptMaxMs);

/**
 * Checks and freezes the settings. Failure `permanent` "job-name-repeated" when two jobs share a name,
 * "unsafe-lease-timing" when a lease could end between two heartbeats.
 */
export function createEngine(settings: EngineSettings): Engine {
  if (renewEveryMs > leaseTtlMs / 3) {
    throw permanent("unsafe-lease-timing", "heartbeats must come three times in a lease's life");
  }
  const jobs = new Map(settings.jobs.map((job) => [job.name, job]));
  if (jobs.size !== settings.jobs.length) {
    throw permanent("job-name-repeated", "two jobs of this family share a name");
  }
  return Object.freeze({ ...settings, jobs });
}
