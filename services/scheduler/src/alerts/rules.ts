/** The rules: what of the measurements is too much, and when it is well again. Pure. */
import type { Observation } from "./alert.ts";

export type AlertThresholds = {
  /** Failed jobs of a tenant within the window. */
  readonly failedJobs: number;
  readonly failedWindowMs: number;
  /** Jobs of one queue of one family that have not ended. */
  readonly queueDepth: number;
  /** How many times longer than expected. */
  readonly durationFactor: number;
  readonly workerMemoryBytes: number;
  /** How long each job is expected to take, in ms; others by what is usual. */
  readonly expectedMs: Readonly<Record<string, number>>;
};

/** The spec's thresholds; its upper typical durations. */
export const defaultThresholds: AlertThresholds = {
  failedJobs: 10,
  failedWindowMs: 3_600_000,
  queueDepth: 1_000,
  durationFactor: 2,
  workerMemoryBytes: 256 * 1024 * 1024,
  expectedMs: {
    "backup.create": 30_000,
    "backup.restore": 60_000,
    "site.provision": 90_000,
    "certificate.issue": 45_000,
    "key.rotate": 15_000,
  },
};

export type Measurements = {
  readonly failed: readonly { readonly tenant: string; readonly count: number }[];
  readonly lost: readonly { readonly tenant: string; readonly count: number }[];
  /** Jobs that were asked for and that their families could not accept in time. */
  readonly unaccepted: readonly { readonly tenant: string; readonly count: number }[];
  readonly depths: readonly {
    readonly family: string;
    readonly queue: string;
    readonly count: number;
  }[];
  readonly durations: readonly {
    readonly name: string;
    /** The longest that runs now; 0: none. */
    readonly runningMs: number;
    /** Median of those that ended within the last ten minutes; 0: none. */
    readonly recentMs: number;
    /** Median of those that completed within the last hour; 0: too few to tell. */
    readonly usualMs: number;
  }[];
  readonly workers: readonly { readonly worker: string; readonly rssBytes: number }[];
  /** Messages in quarantine, when one came within the last day. */
  readonly quarantined: number;
  /** Servers whose last rotation failed or needs a person. */
  readonly rotations: readonly {
    readonly tenant: string;
    readonly serverId: string;
    readonly code: string;
  }[];
  /** How often the signer denied something to a service, in the last minutes. */
  readonly denials: readonly { readonly service: string; readonly count: number }[];
};

export type Found = Observation & { readonly tenant: string };

/** Raised above the threshold, resolved at or below this part of it: a value that hovers does not flap. */
export const clearRatio = 0.8;
/** A job that has just ended may still ask once or twice; more is somebody who wants what is not theirs. */
const deniedMax = 5;
/** No expectation is shorter: below it noise decides. */
const shortestMs = 1_000;
export const platform = "platform";

type Measured = { tenant: string; rule: string; subject: string; value: number; threshold: number };

/** Where a value stands to its threshold. */
export const judged = (measured: Measured, message: string): Found => ({
  ...measured,
  message,
  isHigh: measured.value > measured.threshold,
  isLow: measured.value <= measured.threshold * clearRatio,
});

const megabytes = (bytes: number): number => Math.round(bytes / 1024 / 1024);

function overdue(measurements: Measurements, thresholds: AlertThresholds): Found[] {
  const threshold = thresholds.durationFactor;
  return measurements.durations.flatMap(({ name, runningMs, recentMs, usualMs }) => {
    const expectedMs = Math.max(thresholds.expectedMs[name] ?? 0, usualMs);
    if (expectedMs === 0) return [];
    const longest = Math.max(runningMs, recentMs);
    const value = Math.round((longest / Math.max(expectedMs, shortestMs)) * 100) / 100;
    const measured = {
      ...{ tenant: platform, rule: "processing-time", subject: name, value, threshold },
    };
    const seconds = [longest, expectedMs].map((ms) => Math.round(ms / 1_000));
    return [judged(measured, `${name} takes ${seconds[0]} s instead of ${seconds[1]} s`)];
  });
}

const denied = ({ denials }: Measurements): Found[] =>
  denials.map(({ service, count: value }) => {
    const measured = { tenant: platform, rule: "signer-denied", subject: service, value };
    const message = `the signer denied ${value} signatures to ${service}`;
    return judged({ ...measured, threshold: deniedMax }, message);
  });

/** What the rules say of everything that was measured. What is fine is said too. */
export function observationsOf(
  measurements: Measurements,
  thresholds: AlertThresholds,
): readonly Found[] {
  const { failed, lost, unaccepted, depths, workers, quarantined, rotations } = measurements;
  const memory = thresholds.workerMemoryBytes;
  const all = { tenant: platform, subject: "all", threshold: 0 };
  return [
    ...failed.map(({ tenant, count: value }) => {
      const { failedJobs: threshold } = thresholds;
      const measured = { tenant, rule: "failed-jobs", subject: "all", value, threshold };
      return judged(measured, `${value} jobs failed`);
    }),
    ...lost.map(({ tenant, count: value }) =>
      judged(
        { ...all, tenant, rule: "worker-lost", value },
        `${value} jobs lost their workers again and again`,
      ),
    ),
    ...unaccepted.map(({ tenant, count: value }) =>
      judged(
        { ...all, tenant, rule: "requests-refused", value },
        `${value} jobs that were asked for could not be accepted in time`,
      ),
    ),
    ...depths.map(({ family, queue, count: value }) => {
      const subject = `${family}.${queue}`;
      const { queueDepth: threshold } = thresholds;
      const measured = { tenant: platform, rule: "queue-depth", subject, value, threshold };
      return judged(measured, `${value} jobs are in the queue ${subject}`);
    }),
    ...overdue(measurements, thresholds),
    ...workers.map(({ worker, rssBytes }) => {
      const value = megabytes(rssBytes);
      const threshold = megabytes(memory);
      const measured = { ...all, rule: "worker-memory", subject: worker, value, threshold };
      return judged(measured, `the worker ${worker} uses ${value} MB`);
    }),
    judged(
      { ...all, rule: "quarantined", value: quarantined },
      `${quarantined} messages are in quarantine`,
    ),
    ...rotations.map(({ tenant, serverId, code }) =>
      judged(
        { ...all, tenant, rule: "key-rotation", subject: serverId, value: 1 },
        `the keys of server ${serverId} were not rotated (${code})`,
      ),
    ),
    ...denied(measurements),
  ];
}
