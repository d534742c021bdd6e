/** The one declarative table of everything the broker must have, for one kind of deployment. */
import {
  type Concurrency,
  type ConsumerSettings,
  consumers,
  defaultConcurrency,
} from "./consumers.ts";
import { type StreamSettings, streams } from "./streams.ts";

export type TopologyOptions = {
  /** 1 on a laptop, 3 in production. */
  readonly replicas: 1 | 3;
  readonly concurrency?: Partial<Concurrency>;
  /** Durable consumers of other systems; they are created like ours, and nobody of ours may pull from them. */
  readonly externalConsumers?: readonly ConsumerSettings[];
};

export type Topology = {
  readonly streams: readonly StreamSettings[];
  readonly consumers: readonly ConsumerSettings[];
};

/** Key in a stream's metadata: the incarnation of the stream, in ms, set once when it is created. */
export const epochKey = "chom-epoch";

/** The table for one deployment. */
export const topology = (options: TopologyOptions): Topology => ({
  streams: streams.map((settings) => ({ ...settings, num_replicas: options.replicas })),
  consumers: [
    ...consumers({ ...defaultConcurrency, ...options.concurrency }),
    ...(options.externalConsumers ?? []),
  ],
});
