/** What a service's jobs, RPCs and reactors are built from; made once by `serve`. */
import type { AnyAggregate, InputOf, StateOf } from "../aggregate/aggregate.ts";
import type { AuditLog } from "../audit/audit-log.ts";
import type { EventLog } from "../event-log/event-log.ts";
import type { Nats } from "../event-log/nats.ts";
import type { AnyJob, DispatchOptions } from "../job/job.ts";
import type { Database } from "../projection/database.ts";
import type { Projection } from "../projection/projection.ts";
import type { Reactor } from "../reactor/reactor.ts";
import type { DoctorCheck } from "./doctor/check.ts";
import type { KeyIssuer } from "../secrets/key-issuer.ts";
import type { Sealer } from "../secrets/sealer.ts";
import type { Servers } from "../script/servers.ts";
import type { SessionPorts } from "../script/sessions.ts";
import type { Logger } from "../telemetry/logger.ts";
import type { RpcService } from "../rpc/unary.ts";

/** Who asks, and because of what. */
export type Cause = {
  readonly tenant: string;
  readonly actor: string;
  readonly causationId?: string;
  readonly correlationId?: string;
};

export type DispatchCommand = Cause & {
  readonly job: AnyJob;
  /** The caller's request id, or a hash of the cause. */
  readonly jobId: string;
  readonly input: unknown;
  readonly options?: DispatchOptions;
};

export type App = {
  /** The service's name, also its schema in Postgres and its source in events. */
  readonly name: string;
  readonly db: Database;
  readonly log: EventLog;
  /** The service's own connection, for what no port covers: KV entries and the state of streams and consumers. */
  readonly nats: Nats;
  readonly sealer: Sealer;
  /** Of the one service that makes tenants' keys. */
  readonly issuer?: KeyIssuer | undefined;
  readonly servers: Servers;
  readonly logger: Logger;
  /** For decisions that are no calls; calls are written down by the server. */
  readonly audit: AuditLog;
  now(): Date;
  newId(): string;
  /** An aggregate's state and the sequence of its last event; works on other services' aggregates too (read-only folds). */
  load<A extends AnyAggregate>(
    aggregate: A,
    tenant: string,
    id: string,
  ): Promise<{ state: StateOf<A>; sequence: number }>;
  /**
   * Loads, decides and appends with optimistic concurrency, at most 5 times over. `position` is that of the last
   * event (of the state, when nothing was decided). `eventSeed` makes event ids deterministic, so that twice is once.
   */
  handle<A extends AnyAggregate, Name extends keyof A["commands"] & string>(
    aggregate: A,
    id: string,
    command: Name,
    input: InputOf<A, Name>,
    cause: Cause & { readonly eventSeed: string },
  ): Promise<{ position: number; decided: number }>;
  /**
   * Journals the job and puts its work item in the queue; both are stored when it answers. The same id with the
   * same input is the same job; another input is Failure `conflict` "already-exists". `position` is the journal's.
   */
  dispatch(
    command: DispatchCommand,
  ): Promise<{ jobId: string; position: number; created: boolean }>;
  /** Waits at most 2 s until a projection has seen a position; Failure `transient` "read-model-behind" otherwise. */
  seen(projection: string, position: number): Promise<void>;
};

/** Regular work of one replica at a time, like asking the CA for renewal windows. Must bear being run twice. */
export type Tick = {
  readonly name: string;
  readonly everyMs: number;
  readonly run: (signal: AbortSignal) => Promise<void>;
};

/** The cast of a service. */
export type Cast = {
  readonly jobs?: readonly AnyJob[];
  readonly reactors?: readonly Reactor[];
  readonly projections?: readonly Projection[];
  readonly rpc?: readonly RpcService[];
  readonly ticks?: readonly Tick[];
  /** What the doctor looks at beside what every service has; `rebuild` mends a read model. */
  readonly checks?: (rebuild: (projection: string) => Promise<number>) => readonly DoctorCheck[];
  /** How this service's own jobs log in to servers; only credentials has the keys, all others ask it. */
  readonly signer?: SessionPorts;
  /** Closed after everything else has stopped. */
  readonly close?: () => Promise<void>;
};
