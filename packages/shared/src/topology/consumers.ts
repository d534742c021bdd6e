/** Every durable consumer: one per family and priority, one per reactor, one per family for lost work. */
import type { Queue } from "../job/job.ts";
import { families, type Family, queues, type User } from "./names.ts";
import { eventFilter } from "./subjects.ts";

const secondNs = 1_000_000_000;

export type ConsumerSettings = {
  readonly stream: string;
  readonly name: string;
  /** Who may pull from it; undefined for consumers of other systems. */
  readonly owner?: User;
  /** Settings in the broker's own words. */
  readonly config: Readonly<Record<string, unknown>>;
};

/** Global concurrency of each queue, over all replicas of a family; 1 to 10 000. */
export type Concurrency = Readonly<Record<Queue, number>>;

export const defaultConcurrency: Concurrency = { high: 64, default: 128, low: 32 };

/** An item that its worker says nothing about for so long is given to another; no lease may outlive it. */
export const workAckWaitMs = 30_000;

/** Durable name of a family's consumer for one priority. */
export const workConsumer = (family: Family, queue: Queue): string => `${family}-${queue}`;

/** Durable name of a reactor's consumer. */
export const reactorConsumer = (service: string, reactor: string): string =>
  `${service}-${reactor}`;

/** Durable name of a family's consumer of advisories about its own exhausted items. */
export const lostConsumer = (family: Family): string => `${family}-lost`;

/** Which reactors exist: service, name, and the kind of aggregate listened to. */
const reactors: readonly (readonly [User, string, string])[] = [
  ["ssl", "sites", "site"],
  ["provisioning", "restores", "backups"],
  ["provisioning", "domains", "site"],
  ["credentials", "retire-keys", "server"],
  ["credentials", "publish-tokens", "api-token"],
  ["scheduler", "fire-schedules", "schedule-ticks"],
  ["scheduler", "chains", "chain"],
  ["scheduler", "batches", "batch"],
  ...families.map((family) => [family, "job-control", "job-control"] as const),
  ...families.map((family) => [family, "job-requests", "job-request"] as const),
];

/**
 * Events in hand or waiting for their next try, of reactors that work on theirs side by side: as many as a large batch
 * asks for, so that what cannot be accepted now keeps nobody from being answered.
 */
const sideBySide: Readonly<Record<string, number>> = { "job-requests": 10_000 };

const pull = {
  ack_policy: "explicit",
  // A worker that died is noticed after this long; the living renew every 10 s.
  ack_wait: (workAckWaitMs / 1_000) * secondNs,
};

const work = (family: Family, queue: Queue, concurrency: Concurrency): ConsumerSettings => ({
  stream: "JOBS",
  name: workConsumer(family, queue),
  owner: family,
  config: {
    ...pull,
    filter_subject: `job.${family}.${queue}.>`,
    // A guard against crash loops only, above any job's tries: the journal counts attempts.
    max_deliver: 20,
    max_ack_pending: concurrency[queue],
  },
});

const reactor = ([service, name, aggregate]: (typeof reactors)[number]): ConsumerSettings => ({
  stream: "EVENTS",
  name: reactorConsumer(service, name),
  owner: service,
  config: {
    ...pull,
    filter_subject: eventFilter(aggregate),
    // Reactions take milliseconds. After a crash an unreplicated broker may forget an acknowledgement, and then
    // everything waits this long.
    ack_wait: 10 * secondNs,
    max_deliver: -1,
    // One at a time over all replicas: facts of an aggregate are reacted to in their order.
    max_ack_pending: sideBySide[name] ?? 1,
  },
});

const lost = (family: Family): ConsumerSettings => ({
  stream: "ADVISORIES",
  name: lostConsumer(family),
  owner: family,
  config: {
    ...pull,
    filter_subjects: queues.map(
      (queue) => `$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.JOBS.${workConsumer(family, queue)}`,
    ),
    max_deliver: -1,
    max_ack_pending: 64,
  },
});

/** All durable consumers of CHOM itself. */
export const consumers = (concurrency: Concurrency = defaultConcurrency): ConsumerSettings[] => [
  ...families.flatMap((family) => queues.map((queue) => work(family, queue, concurrency))),
  ...reactors.map(reactor),
  ...families.map(lost),
];
