/** Everything of a service that runs by itself: projections, reactors, workers with their safety nets, ticks. */
import { randomUUID } from "node:crypto";
import { hostname } from "node:os";
import { failureOf, operator, transient } from "../failure/failure.ts";
import { followAdvisories } from "../job/advisories.ts";
import { systemClock } from "../job/clock.ts";
import { createDispatch } from "../job/dispatch.ts";
import { createEngine, type Engine } from "../job/engine.ts";
import { jetstreamQueue } from "../job/jetstream-queue.ts";
import { jobControl } from "../job/job-control.ts";
import { openJobs, openJobsDdl } from "../job/open-jobs.ts";
import { sweep, sweepEveryMs } from "../job/sweeper.ts";
import { startWorkers, type Workers } from "../job/worker.ts";
import { leases, leaseTtlMs } from "../lease/lease.ts";
import { tickets } from "../lease/tickets.ts";
import type { Projection } from "../projection/projection.ts";
import { type Projector, startProjector } from "../projection/projector.ts";
import { sharedTablesSql } from "../projection/shared-tables.sql.ts";
import type { Reactor } from "../reactor/reactor.ts";
import { startReactor } from "../reactor/run-reactor.ts";
import { type Family, isFamily } from "../topology/names.ts";
import { workAckWaitMs } from "../topology/consumers.ts";
import type { App, Cast, Tick } from "./app.ts";
import type { AppParts, Attached } from "./build-app.ts";
import { runTick } from "./ticks.ts";

/** Tables that a service has whatever it does. */
export const sharedTables = (name: string): readonly string[] => [
  ...sharedTablesSql(name),
  ...(isFamily(name) ? [openJobsDdl(name)] : []),
];

export type Runners = {
  /** Throws what stands still and needs a person. */
  check(): Promise<void>;
  /** No new work; running jobs may go on for `drainMs`, then they are given back. */
  stop(drainMs: number): Promise<void>;
};

export type RunnersParts = AppParts & {
  readonly app: App;
  readonly cast: Cast;
  readonly attach: (attached: Attached) => void;
};

/** The machinery of a family: jobs, their journal's projection, and the nets under them. */
type FamilyParts = {
  readonly projections: readonly Projection[];
  readonly reactors: readonly Reactor[];
  readonly ticks: readonly Tick[];
  readonly dispatch: Attached["dispatch"];
  /** Begins to take work. */
  start(signal: AbortSignal): Workers;
};

function engineOf({ nats, sealer, logger, app, cast }: RunnersParts, family: Family): Engine {
  // A lease must end before the broker gives the item to somebody else.
  if (leaseTtlMs > workAckWaitMs) {
    throw operator("unsafe-lease-timing", "a lease lives longer than the queue waits for its ack");
  }
  return createEngine({
    family,
    worker: `${family}@${hostname()}.${process.pid}`,
    jobs: cast.jobs ?? [],
    log: app.log,
    queue: jetstreamQueue(nats, family, systemClock),
    leases: leases(nats, { newHolder: randomUUID }),
    tickets: tickets(nats),
    servers: app.servers,
    sealer,
    clock: systemClock,
    logger,
    newId: app.newId,
    random: Math.random,
  });
}

function familyOf(parts: RunnersParts, family: Family): FamilyParts {
  const engine = engineOf(parts, family);
  const { nats, app, settings } = parts;
  const open = openJobs(family, family);
  const sweeping: Tick = {
    name: "sweep",
    everyMs: sweepEveryMs,
    run: async () => void (await sweep({ engine, db: app.db, openJobs: open })),
  };
  return {
    projections: [open.projection],
    reactors: [jobControl(engine)],
    ticks: [sweeping],
    dispatch: createDispatch(engine),
    start(signal) {
      followAdvisories(engine, nats, family, signal).catch((err: unknown) =>
        engine.logger.error({ err }, "advisories are no longer followed"),
      );
      const workers = startWorkers({ engine, concurrency: settings.workerConcurrency });
      return {
        ...workers,
        async stop(graceMs) {
          await workers.stop(graceMs);
          engine.queue.close();
        },
      };
    },
  };
}

const noJobs: Attached["dispatch"] = () =>
  Promise.reject(failureOf("invalid-config", "this service is no job family"));

function seenOf(projectors: readonly Projector[]): Attached["seen"] {
  return async (name, position) => {
    const projector = projectors.find((candidate) => candidate.name === name);
    if (!projector) throw failureOf("invalid-config", `no projection is named "${name}"`);
    if (position > 0) await projector.seen(position);
  };
}

/** Starts all of it. Order: read models, then what reacts, then what takes work. */
export function startRunners(parts: RunnersParts): Runners {
  const { name, app, cast, postgres, logger, sealer, nats } = parts;
  if (!isFamily(name) && (cast.jobs ?? []).length > 0) {
    throw operator("invalid-config", `"${name}" is no job family, so it can have no jobs`);
  }
  const family = isFamily(name) ? familyOf(parts, name) : undefined;
  const { db, log } = app;
  const projectors = [...(family?.projections ?? []), ...(cast.projections ?? [])].map(
    (projection) => startProjector(projection, { service: name, db, log, sealer, logger }),
  );
  const dispatch = family?.dispatch ?? noJobs;
  parts.attach({ dispatch, seen: seenOf(projectors), signer: cast.signer });
  const reactors = [...(family?.reactors ?? []), ...(cast.reactors ?? [])].map((reactor) =>
    startReactor(reactor, { service: name, nats, app, logger }),
  );
  const stopping = new AbortController();
  const ticks = [...(family?.ticks ?? []), ...(cast.ticks ?? [])].map((tick) =>
    runTick(tick, postgres, logger, stopping.signal),
  );
  const workers = family?.start(stopping.signal);
  return {
    async check() {
      const stands = projectors.find((projector) => projector.failure() !== undefined);
      if (stands) throw transient("read-model-behind", `projection ${stands.name} stands still`);
    },
    async stop(drainMs) {
      stopping.abort();
      await Promise.all([
        workers?.stop(drainMs),
        ...reactors.map((running) => running.stop()),
        ...ticks,
      ]);
      await Promise.all(projectors.map((projector) => projector.stop()));
    },
  };
}
