/** Everything of a service that runs by itself: projections, reactors, workers with their safety nets, ticks. */
import { randomUUID } from "node:crypto";
import { hostname } from "node:os";
import { failureOf, operator, transient } from "../failure/failure.ts";
import { admissionTo } from "../job/admission.ts";
import { admitAll, admitEveryMs } from "../job/admitter.ts";
import { jobsMadeAt } from "../job/jobs-made-at.ts";
import { followAdvisories } from "../job/advisories.ts";
import { systemClock } from "../job/clock.ts";
import { createDispatch } from "../job/dispatch.ts";
import { createEngine, type Engine } from "../job/engine.ts";
import { jetstreamRoom } from "../job/jetstream-room.ts";
import { jetstreamQueue } from "../job/jetstream-queue.ts";
import { jobControl } from "../job/job-control.ts";
import { type OpenJobs, openJobs } from "../job/open-jobs.ts";
import { sweep, sweepEveryMs } from "../job/sweeper.ts";
import { exitCodeOf } from "../job/work-limits.ts";
import type { WorkReport } from "../job/work-report.ts";
import type { Turns } from "../job/turns.ts";
import { startWorkers, type Workers } from "../job/worker.ts";
import { circuits } from "../limit/circuits.ts";
import { limitStore } from "../limit/limit-store.ts";
import { limits } from "../limit/limits.ts";
import { ratesOf } from "../limit/named-limits.ts";
import { claims } from "../lease/claims.ts";
import { leases, leaseTtlMs } from "../lease/lease.ts";
import { tickets } from "../lease/tickets.ts";
import type { Projection } from "../projection/projection.ts";
import { type Projector, startProjector } from "../projection/projector.ts";
import type { Reactor } from "../reactor/reactor.ts";
import { startReactor } from "../reactor/run-reactor.ts";
import { type Family, isFamily } from "../topology/names.ts";
import { workAckWaitMs } from "../topology/consumers.ts";
import type { App, Cast, Tick } from "./app.ts";
import type { AppParts, Attached } from "./build-app.ts";
import { answerJobRequests } from "./job-requests.ts";
import { showRunners } from "./runner-gauges.ts";
import { runTick, showTicks } from "./ticks.ts";
import { workPlan } from "./work-settings.ts";
import { reportWorker } from "./worker-report.ts";

export type Runners = {
  /** What is projected here; empty in a process that only works. */
  readonly projectors: readonly Projector[];
  readonly projections: readonly Projection[];
  /** The machinery of a family's jobs. */
  readonly family: Pick<FamilyParts, "engine" | "openJobs" | "sweep"> | undefined;
  /** The workers, when this process works. */
  readonly workers: Pick<Workers, "pause" | "resume" | "isPaused"> | undefined;
  /** Settles with the exit code when a limit ended the work; never otherwise. */
  readonly ended: Promise<number>;
  /** Throws what stands still and needs a person. */
  check(): Promise<void>;
  /** No new work; running jobs may go on for `drainMs`, then they are given back. */
  stop(drainMs: number): Promise<void>;
};

export type RunnersParts = AppParts & {
  readonly app: App;
  readonly cast: Cast;
  readonly attach: (attached: Attached) => void;
  /** Told what the workers do. */
  readonly report?: ((report: WorkReport) => void) | undefined;
};

/** The machinery of a family: jobs, their journal's projection, and the nets under them. */
type FamilyParts = {
  readonly engine: Engine;
  readonly openJobs: OpenJobs;
  /** One pass of the sweeper; answers how many jobs were queued again. */
  sweep(): Promise<number>;
  readonly projections: readonly Projection[];
  readonly reactors: readonly Reactor[];
  readonly ticks: readonly Tick[];
  readonly dispatch: Attached["dispatch"];
  /** The nets under the jobs that need no worker. */
  guard(signal: AbortSignal): void;
  /** Begins to take work. */
  work(): Workers;
};

function turnsOf({ nats, settings }: RunnersParts): Turns {
  const store = limitStore(nats);
  return {
    limits: limits(store, ratesOf(settings.limits), systemClock),
    circuits: circuits(store, systemClock),
    caps: { server: settings.serverConcurrency, tenant: settings.tenantConcurrency },
  };
}

function engineOf(parts: RunnersParts, family: Family): Engine {
  const { nats, sealer, logger, app, cast, settings } = parts;
  // A lease must end before the broker gives the item to somebody else.
  if (leaseTtlMs > workAckWaitMs) {
    throw operator("unsafe-lease-timing", "a lease lives longer than the queue waits for its ack");
  }
  return createEngine({
    family,
    worker: settings.workName ?? `${family}@${hostname()}.${process.pid}`,
    jobs: cast.jobs ?? [],
    log: app.log,
    queue: jetstreamQueue(nats, family, systemClock),
    leases: leases(nats, { newHolder: randomUUID }),
    tickets: tickets(nats),
    claims: claims(nats),
    servers: app.servers,
    turns: turnsOf(parts),
    admission: admissionTo(jetstreamRoom(nats, systemClock), systemClock),
    sealer,
    clock: systemClock,
    logger,
    newId: app.newId,
    random: Math.random,
    attemptMaxMs: settings.workTimeoutMs,
    payloadMaxBytes: settings.payloadMaxBytes,
    report: parts.report,
  });
}

/** Begins to take work as the settings say. */
function work({ settings, report }: RunnersParts, engine: Engine): Workers {
  const { limits, concurrency } = workPlan(settings, settings.workerConcurrency);
  report?.({ work: "worker-started", worker: engine.worker, queues: limits.queues });
  return startWorkers({ engine, concurrency, limits });
}

function familyOf(parts: RunnersParts, family: Family): FamilyParts {
  const engine = engineOf(parts, family);
  const { nats, app } = parts;
  const open = openJobs(family, family, { fair: true });
  const admitting: Tick = {
    name: "admit",
    everyMs: admitEveryMs,
    run: (signal) => admitAll({ engine, db: app.db, openJobs: open }, signal),
  };
  const swept = { engine, db: app.db, openJobs: open, jobsMadeAt: jobsMadeAt(nats) };
  const sweeping: Tick = {
    name: "sweep",
    everyMs: sweepEveryMs,
    run: async () => void (await sweep(swept)),
  };
  return {
    engine,
    openJobs: open,
    sweep: () => sweep(swept),
    projections: [open.projection],
    reactors: [
      jobControl(engine),
      answerJobRequests({
        ...{ family, rpc: parts.cast.rpc ?? [], sealer: parts.sealer, log: app.log },
        ...{ logger: parts.logger, patienceMs: parts.settings.requestPatienceMs },
      }),
    ],
    ticks: [sweeping, admitting],
    dispatch: createDispatch(engine),
    guard(signal) {
      followAdvisories(engine, nats, family, signal).catch((err: unknown) =>
        engine.logger.error({ err }, "advisories are no longer followed"),
      );
    },
    work() {
      const workers = work(parts, engine);
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

/** What goes on beside the work; a process that only works leaves it to others of its service. */
function besides(parts: RunnersParts, family: FamilyParts | undefined, stopping: AbortSignal) {
  const { name, app, cast, postgres, logger, sealer, nats, settings } = parts;
  const plays = settings.role !== "worker";
  const only = <T>(own: readonly T[] = [], machinery: readonly T[] = []): readonly T[] =>
    plays ? [...machinery, ...own] : [];
  const { db, log } = app;
  const projections = only(cast.projections, family?.projections);
  const projectors = projections.map((projection) =>
    startProjector(projection, { service: name, db, log, sealer, logger }),
  );
  const dispatch = family?.dispatch ?? noJobs;
  parts.attach({ dispatch, seen: seenOf(projectors), signer: cast.signer });
  const reactors = only(cast.reactors, family?.reactors).map((reactor) =>
    startReactor(reactor, { service: name, nats, app, logger }),
  );
  const regular = only(cast.ticks, family?.ticks);
  showTicks(regular);
  const ticks = regular.map((tick) => runTick(tick, postgres, logger, stopping));
  if (plays) family?.guard(stopping);
  return { projections, projectors, reactors, ticks };
}

/** Starts all of it, or the part that CHOM_ROLE names. Order: read models, then what reacts, then what takes work. */
export function startRunners(parts: RunnersParts): Runners {
  const { name, cast, settings } = parts;
  if (!isFamily(name) && (cast.jobs ?? []).length > 0) {
    throw operator("invalid-config", `"${name}" is no job family, so it can have no jobs`);
  }
  if (!isFamily(name) && settings.role === "worker") {
    throw operator("bad-settings", `CHOM_ROLE=worker has no meaning: "${name}" is no job family`);
  }
  const family = isFamily(name) ? familyOf(parts, name) : undefined;
  const stopping = new AbortController();
  const { projections, projectors, reactors, ticks } = besides(parts, family, stopping.signal);
  const workers = settings.role === "api" ? undefined : family?.work();
  const { nats, logger } = parts;
  const names = reactors.map((reactor) => reactor.name);
  const shown = { nats, service: name, projections, projectors, reactors: names };
  showRunners({ ...shown, running: workers?.running });
  const worker = `${name}@${hostname()}.${process.pid}`;
  const reports =
    workers && reportWorker({ nats, family: name, worker, running: workers.running, logger });
  return {
    ...{ projections, projectors, family, workers },
    ended: workers?.ended.then(exitCodeOf) ?? new Promise(() => {}),
    async check() {
      const stands = projectors.find((projector) => projector.failure() !== undefined);
      if (stands) throw transient("read-model-behind", `projection ${stands.name} stands still`);
    },
    async stop(drainMs) {
      stopping.abort();
      await Promise.all([
        workers?.stop(drainMs),
        reports?.stop(),
        ...reactors.map((running) => running.stop()),
        ...ticks,
      ]);
      await Promise.all(projectors.map((projector) => projector.stop()));
    },
  };
}
