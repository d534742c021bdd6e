/** A job that does nothing, with all that a job costs: its journal, one fact, and the engine of a real family. */
import { randomBytes, randomUUID } from "node:crypto";
import { aggregate } from "@chom/shared/aggregate/aggregate";
import { eventTypes } from "@chom/shared/aggregate/event-types";
import { timeId } from "@chom/shared/aggregate/id";
import { jetstreamLog } from "@chom/shared/event-log/jetstream-log";
import type { Nats } from "@chom/shared/event-log/nats";
import { systemClock } from "@chom/shared/job/clock";
import { createEngine, type Engine } from "@chom/shared/job/engine";
import { jetstreamQueue } from "@chom/shared/job/jetstream-queue";
import { type Abandoned, type Done, type FailureReport, job } from "@chom/shared/job/job";
import { leases } from "@chom/shared/lease/lease";
import { claims } from "@chom/shared/lease/claims";
import { tickets } from "@chom/shared/lease/tickets";
import { Secret } from "@chom/shared/secrets/secret";
import { randomPool } from "@chom/shared/secrets/random-pool";
import { keyring } from "@chom/shared/secrets/keyring";
import { createLogger } from "@chom/shared/telemetry/logger";
import { fakeServers } from "@chom/shared/testing/fake-servers";

export const tenant = "bench";

type Noop = { readonly id: string };
const codec = (name: string) => ({
  $type: `chom.bench.v1.${name}`,
  fromJSON: (json: { id?: unknown }): Noop => ({ id: String(json.id ?? "") }),
  toJSON: ({ id }: Noop): unknown => ({ id }),
});
const happened = eventTypes({ NoopDone: codec("NoopDone"), NoopFailed: codec("NoopFailed") });
const count = (so: number): number => so + 1;
const noops = aggregate({
  // A kind that the broker's permissions and the topology know.
  name: "backups",
  events: happened,
  initial: () => 0,
  evolve: { NoopDone: count, NoopFailed: count },
  commands: {
    end: (_: number, { input }: Done<Noop, undefined>) => happened.NoopDone(input),
    fail: (_: number, { input }: FailureReport<Noop>) => happened.NoopFailed(input),
    drop: (_: number, { input }: Abandoned<Noop>) => happened.NoopFailed(input),
  },
});

/** `began` is called with the job's id when its work begins. */
export const noopJob = (began: (id: string) => void = () => {}) =>
  job(noops, {
    name: "bench.noop",
    input: codec("NoopInput"),
    of: ({ id }) => id,
    done: "end",
    failed: "fail",
    cancelled: "drop",
    queue: "default",
    tries: 3,
    timeoutMs: 60_000,
    backoffMs: [1_000],
    async work({ id }) {
      began(id);
      return undefined;
    },
  });

export type NoopJob = ReturnType<typeof noopJob>;

/** The engine of the family `backup` as a service makes it; only servers are missing. */
const random = randomPool();

export const benchEngine = (nats: Nats, made: NoopJob): Engine =>
  createEngine({
    family: "backup",
    worker: `bench.${process.pid}`,
    jobs: [made],
    log: jetstreamLog(nats),
    queue: jetstreamQueue(nats, "backup", systemClock),
    leases: leases(nats, { newHolder: randomUUID }),
    tickets: tickets(nats),
    claims: claims(nats),
    servers: fakeServers({}),
    sealer: keyring([{ keyId: "bench", key: new Secret(randomBytes(32)) }], randomPool()),
    clock: systemClock,
    logger: createLogger({ service: "bench", level: "error" }),
    newId: () => timeId(new Date(), random(10)),
    random: Math.random,
  });
