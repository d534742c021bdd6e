/** RPC handlers as plain async functions of request and caller, errors as Failures; the rest is done here, once. */
import { randomUUID } from "node:crypto";
import type {
  handleServerStreamingCall,
  handleUnaryCall,
  Metadata,
  ServerUnaryCall,
  ServerWritableStream,
  ServiceDefinition,
  UntypedServiceImplementation,
} from "@grpc/grpc-js";
import type { CallAudit } from "../audit/call-audit.ts";
import { classify, type Failure, permanent, transient } from "../failure/failure.ts";
import type { Logger } from "../telemetry/logger.ts";
import type { CallRates } from "./call-rates.ts";
import { timed, timing } from "../telemetry/metrics.ts";
import { inSpan } from "../telemetry/tracing.ts";
import { whoWasDenied } from "./denied.ts";
import { watchRight } from "./watch-right.ts";
import { statusOf } from "./status.ts";
import { inTenant } from "./tenant-scope.ts";

/** Who calls, from the credential alone. */
export type Caller = {
  /** From the token; empty for a service of CHOM. */
  readonly tenant: string;
  /** Subject of the token, or the service's name. */
  readonly actor: string;
  readonly permissions: readonly string[];
  /** Name of the calling service by its mutual-TLS identity; undefined for callers with tokens. */
  readonly service: string | undefined;
  readonly traceparent: string;
  readonly signal: AbortSignal;
  /** When the caller stops waiting. */
  readonly deadline: Date;
};

export type RpcService = {
  readonly definition: ServiceDefinition;
  readonly implementation: UntypedServiceImplementation;
};

export type Identity = Pick<Caller, "tenant" | "actor" | "permissions" | "service" | "traceparent">;

/** What a server gives to its handlers. */
export type Handling = {
  /** Throws "unauthenticated" or "not-permitted". */
  readonly authenticate: (call: ServerCall, path: string) => Promise<Identity>;
  readonly logger: Logger;
  /** Left out only in tests: then nobody writes down who did what. */
  readonly audit?: CallAudit | undefined;
  /** Left out only in tests: then anybody calls as often as they like. */
  readonly rates?: CallRates | undefined;
  /** How often the right to a stream is looked at again; default 10 s. */
  readonly recheckMs?: number | undefined;
  /** Brings the keys of a caller's tenant; a handler that needs them says itself that they are not to be had. */
  readonly ready?: ((tenant: string) => Promise<void> | undefined) | undefined;
};

export type ServerCall = {
  readonly metadata: Metadata;
  readonly cancelled: boolean;
  getPath(): string;
  getDeadline(): Date | number;
  getAuthContext(): { sslPeerCertificate?: { subjectaltname?: string | undefined } };
  on(event: "cancelled", listener: () => void): unknown;
};

const defaultDeadlineMs = 10_000;
const longestUnaryMs = 60_000;
/** A stream may follow for as long as its caller stays, but a day is enough to make clients able to resume. */
const longestStreamMs = 24 * 3_600_000;
const longestStallMs = 60_000;

// biome-ignore lint/suspicious/noExplicitAny: request and response are checked where handlers are made.
type AnyHandler = (request: any, caller: Caller) => any;
type Bind = (handling: Handling) => (...args: never[]) => void;

/** Handlers know their server only when it is built: until then they refuse every call. */
const made = new WeakMap<object, { bind: Bind; plain: AnyHandler }>();

const unbound = () => {
  throw new Error("this handler was not bound by createRpcServer");
};

/**
 * A handler of one request and one response. The caller is authenticated and permitted, the deadline runs (default
 * 10 s, at most 60 s), `caller.signal` aborts when it passes or the caller leaves. Failures are answered with their
 * code; anything else is logged with its stack and answered INTERNAL without internals.
 */
export function unary<Request, Response>(
  handler: (request: Request, caller: Caller) => Promise<Response>,
): handleUnaryCall<Request, Response> {
  const handle: handleUnaryCall<Request, Response> = () => unbound();
  const scoped: typeof handler = (request, caller) =>
    inTenant(caller.tenant, () => handler(request, caller));
  const bind: Bind =
    (handling) =>
    (call: ServerUnaryCall<Request, Response>, answer: (...args: unknown[]) => void) => {
      const limit = limitOf(call, longestUnaryMs);
      const work = async () => {
        const { identity, ended } = await admit(handling, call, call.request);
        const { signal, deadline } = limit;
        const answer = scoped(call.request, { ...identity, signal, deadline });
        return answer.then(told(ended), untold(ended));
      };
      observed(call, () => inTime(limit, work))
        .then((response) => answer(null, response))
        .catch((error: unknown) => answer(statusOf(reported(error, call, handling.logger))))
        .finally(limit.end);
    };
  made.set(handle, { bind, plain: scoped });
  return handle;
}

/**
 * A handler of one request and a stream of responses, given as an async iterable. Slow readers hold it back: the
 * next response is asked for when the last one is flushed. `caller.signal` aborts when the caller leaves. The right to
 * it is looked at again every 10 s: with a credential that expired, was revoked or lost its role, the stream ends.
 */
export function serverStream<Request, Response>(
  handler: (request: Request, caller: Caller) => AsyncIterable<Response>,
): handleServerStreamingCall<Request, Response> {
  const handle: handleServerStreamingCall<Request, Response> = () => unbound();
  const bind: Bind = (handling) => (call: ServerWritableStream<Request, Response>) => {
    const limit = limitOf(call, longestStreamMs);
    const send = async () => {
      const { identity, ended } = await inTime(limit, () => admit(handling, call, call.request));
      const free = handling.rates?.openStream(identity);
      const unwatch = watchRight(handling, call, limit);
      const { signal, deadline } = limit;
      const answers = async () => {
        for await (const response of handler(call.request, { ...identity, signal, deadline })) {
          if (limit.signal.aborted) break;
          if (!call.write(response)) await drained(call, limit);
        }
        limit.signal.throwIfAborted();
      };
      // A stream whose right ended says so at once, whatever its handler waits for.
      const running = inTime(limit, () => inTenant(identity.tenant, answers));
      await running.then(told(ended), untold(ended)).finally(() => {
        unwatch();
        free?.();
      });
    };
    send()
      .then(() => call.end())
      .catch((error: unknown) =>
        call.emit("error", statusOf(reported(error, call, handling.logger))),
      )
      .finally(limit.end);
  };
  made.set(handle, { bind, plain: handler });
  return handle;
}

/** Makes the handlers of a service answer for this server. A handler not made here is refused: it would be open. */
export function bindHandlers(
  implementation: UntypedServiceImplementation,
  handling: Handling,
): UntypedServiceImplementation {
  const bound = Object.entries(implementation).map(([name, handler]) => {
    const known = made.get(handler);
    if (!known)
      throw permanent("invalid-config", `RPC "${name}" was not made by unary() or serverStream()`);
    return [name, known.bind(handling)] as const;
  });
  return Object.fromEntries(bound) as UntypedServiceImplementation;
}

/** The async function inside a handler, for tests that have no server. */
export function plainHandler<Request, Response>(
  handler: handleUnaryCall<Request, Response>,
): (request: Request, caller: Caller) => Promise<Response> {
  const known = made.get(handler);
  if (!known) throw new TypeError("not made by unary()");
  return known.plain;
}

/** The call as a span under its caller's, and as a measurement. */
function observed<T>(call: ServerCall, work: () => Promise<T>): Promise<T> {
  const method = call.getPath();
  const parent = String(call.metadata.get("traceparent")[0] ?? "");
  const facts = { "rpc.method": method };
  return timing(
    () => inSpan({ name: method, kind: "server", parent, facts }, work),
    (code, tookMs) => timed("chom_rpc_duration_seconds", { method, code }, tookMs),
  );
}

type Ended = (failure?: Failure) => void;

const told =
  (ended: Ended) =>
  <T>(answer: T): T => {
    ended();
    return answer;
  };
const untold =
  (ended: Ended) =>
  (error: unknown): never => {
    ended(classify(error));
    throw error;
  };

/** Lets a caller in, or not; either way the audit knows, and what may change something waits for it. */
async function admit(
  { authenticate, audit, rates, ready }: Handling,
  call: ServerCall,
  request: unknown,
): Promise<{ identity: Identity; ended: Ended }> {
  const path = call.getPath();
  let identity: Identity;
  try {
    identity = await authenticate(call, path);
  } catch (error) {
    const failure = classify(error);
    audit?.refused(path, request, whoWasDenied(failure), failure);
    throw error;
  }
  // Before the audit: a flood of calls must not become a flood of entries.
  rates?.admit(identity, performance.now());
  await ready?.(identity.tenant)?.catch(() => {});
  return { identity, ended: (await audit?.begin(path, request, identity)) ?? (() => {}) };
}

type Limit = {
  readonly signal: AbortSignal;
  readonly deadline: Date;
  readonly abort: (reason: Failure) => void;
  readonly end: () => void;
};

function limitOf(call: ServerCall, longestMs: number): Limit {
  const controller = new AbortController();
  const now = Date.now();
  const asked = Number(call.getDeadline());
  const wanted = Number.isFinite(asked)
    ? asked
    : now + (longestMs === longestUnaryMs ? defaultDeadlineMs : longestMs);
  const deadline = new Date(Math.min(wanted, now + longestMs));
  const expire = () =>
    controller.abort(transient("deadline-exceeded", "the deadline of the call has passed"));
  const timer = setTimeout(expire, Math.max(0, deadline.getTime() - now));
  call.on("cancelled", () => controller.abort(transient("call-cancelled", "the caller has left")));
  const abort = (reason: Failure) => controller.abort(reason);
  return { signal: controller.signal, deadline, abort, end: () => clearTimeout(timer) };
}

/** Answers at the deadline even when the work does not listen to its signal. */
async function inTime<T>(limit: Limit, work: () => Promise<T>): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  const stop = () => reject(limit.signal.reason);
  limit.signal.addEventListener("abort", stop, { once: true });
  try {
    return await Promise.race([work(), promise]);
  } finally {
    limit.signal.removeEventListener("abort", stop);
  }
}

/** Waits until the caller has read; one that reads nothing for a minute is left. */
async function drained(
  call: { once(event: "drain", listener: () => void): unknown },
  { signal, abort }: Limit,
): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(
    () => abort(transient("deadline-exceeded", "the caller has not read for a minute")),
    longestStallMs,
  );
  call.once("drain", resolve);
  signal.addEventListener("abort", () => resolve(), { once: true });
  await promise;
  clearTimeout(timer);
}

/** The failure to answer: what is no Failure is a bug, which the log gets whole and the caller by its number only. */
function reported(error: unknown, call: ServerCall, logger: Logger): Failure {
  const failure = classify(error);
  const path = call.getPath();
  if (failure.code !== "unexpected") {
    const entry = { path, kind: failure.kind, code: failure.code };
    if (failure.kind === "permanent" || failure.kind === "security") {
      logger.warn({ ...entry, err: failure }, "call refused");
    } else logger.debug(entry, "call failed");
    return failure;
  }
  const incident = randomUUID();
  logger.error({ path, incident, err: error }, "unexpected error in a call");
  return transient("unexpected", `something unexpected happened; the log has it as ${incident}`);
}
