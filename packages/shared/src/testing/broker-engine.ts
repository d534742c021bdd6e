/** An engine on a real broker, with leases and items that come back after 2 s instead of 30. */
import { randomBytes } from "node:crypto";
import { jetstreamLog } from "../event-log/jetstream-log.ts";
import type { Nats } from "../event-log/nats.ts";
import { systemClock } from "../job/clock.ts";
import { createEngine, type Engine } from "../job/engine.ts";
import { jetstreamQueue } from "../job/jetstream-queue.ts";
import type { AnyJob } from "../job/job.ts";
import { claims } from "../lease/claims.ts";
import { leases } from "../lease/lease.ts";
import { tickets } from "../lease/tickets.ts";
import { type Topology, topology } from "../topology/topology.ts";
import { fakeServers } from "./fake-servers.ts";
import { plainSealer, quietLogger } from "./memory-engine.ts";

const secondNs = 1_000_000_000;
export const comesBackMs = 2_000;

/** The topology, with work items that come back after 2 s, at most `maxDeliver` times. */
export function quickTopology(replicas: 1 | 3 = 1, maxDeliver = 20): Topology {
  const { streams, consumers } = topology({ replicas });
  return {
    streams,
    consumers: consumers.map((each) =>
      each.stream === "JOBS"
        ? { ...each, config: { ...each.config, ack_wait: 2 * secondNs, max_deliver: maxDeliver } }
        : each,
    ),
  };
}

const newId = () => randomBytes(12).toString("hex");

/** The engine of the family `backup`; nothing in it is faked but the servers. */
export const brokerEngine = (nats: Nats, jobs: readonly AnyJob[], worker = "test"): Engine =>
  createEngine({
    family: "backup",
    worker,
    jobs,
    log: jetstreamLog(nats),
    queue: jetstreamQueue(nats, "backup", systemClock),
    leases: leases(nats, { newHolder: newId, ttlMs: comesBackMs }),
    tickets: tickets(nats),
    claims: claims(nats),
    servers: fakeServers({}),
    sealer: plainSealer,
    clock: systemClock,
    logger: quietLogger,
    newId,
    random: Math.random,
  });
