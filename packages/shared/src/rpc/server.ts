/** The gRPC server of a service: TLS, limits, health, reflection, and only handlers whose permission is declared. */
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import type { Http2Server } from "node:http2";
import { resources } from "@chom/proto/resources";
import { Server, ServerCredentials, type ServiceDefinition } from "@grpc/grpc-js";
import { BinaryReader } from "@bufbuild/protobuf/wire";
import { ReflectionService } from "@grpc/reflection";
import { HealthImplementation } from "grpc-health-check";
import type { JSONWebKeySet } from "jose";
import type { CallAudit } from "../audit/call-audit.ts";
import { permanent } from "../failure/failure.ts";
import type { Logger } from "../telemetry/logger.ts";
import { anyToken, authenticator, tokenVerifier, type TokenVerifier } from "./authenticate.ts";
import { type CallLimits, callRates, defaultCallLimits } from "./call-rates.ts";
import { checkContract, type ResourceTable } from "./roles.ts";
import { defaultSessionLimits, guardSessions, type SessionLimits } from "./session-guard.ts";
import { bindHandlers, type Handling, type RpcService } from "./unary.ts";

/** PEM of the CA of callers, and of this service's own certificate and key. */
export type TlsIdentity = { readonly ca: Buffer; readonly cert: Buffer; readonly key: Buffer };

export type RpcServerOptions = {
  /** `host:port`; port 0 takes a free one. */
  readonly listen: string;
  /** Left out only outside production: then the wire is plain and nobody is known by certificate. */
  readonly tls?: TlsIdentity | undefined;
  readonly tokenKeys: JSONWebKeySet;
  /** Knows API tokens; without it they are refused. */
  readonly apiTokens?: TokenVerifier;
  /** Permission by method path, from `@chom/proto/permissions`. */
  readonly permissions: Readonly<Record<string, string>>;
  /** What the ids in requests name, by method path; default `@chom/proto/resources`. */
  readonly resources?: ResourceTable;
  readonly services: readonly RpcService[];
  /** Lets tools ask what methods there are; never in production. */
  readonly reflection: boolean;
  readonly logger: Logger;
  /** Writes down who did what; left out only in tests. */
  readonly audit?: CallAudit | undefined;
  readonly callLimits?: Partial<CallLimits>;
  readonly sessionLimits?: Partial<SessionLimits>;
  /** How often the right to a stream is looked at again; default 10 s. */
  readonly recheckMs?: number;
  /** Brings the keys of a caller's tenant before its call is handled. */
  readonly ready?: Handling["ready"];
};

export type RpcServer = {
  /** `host:port` really listened on. */
  readonly address: string;
  setServing(isServing: boolean): void;
  /** Refuses new calls, lets running ones end for `graceMs`, then cuts them. */
  close(graceMs: number): Promise<void>;
};

const streamsPerSession = 100;

/** Limits of one message and one connection; those before any call are session-guard.ts's. */
const limits = {
  "grpc.max_receive_message_length": 1 << 20,
  "grpc.max_send_message_length": 4 << 20,
  "grpc.max_concurrent_streams": streamsPerSession,
  // Half-open connections are found within 40 s, and those that nobody uses are closed: clients connect again.
  "grpc.keepalive_time_ms": 30_000,
  "grpc.keepalive_timeout_ms": 10_000,
  "grpc.max_connection_idle_ms": 600_000,
  "grpc-node.max_session_memory": 64,
};

/**
 * What node's HTTP/2 takes from one connection: headers of 8 KiB in 64 pairs, resets and refused or malformed frames in
 * bounds (rapid reset), settings of at most 16 entries. Frames of CONTINUATION and unread answers to pings are bounded
 * by nghttp2 itself.
 */
const http2Limits = {
  handshakeTimeout: 10_000,
  unknownProtocolTimeout: 5_000,
  maxHeaderListPairs: 64,
  maxSettings: 16,
  maxOutstandingPings: 4,
  maxSessionInvalidFrames: 100,
  maxSessionRejectedStreams: 100,
  streamResetBurst: 500,
  streamResetRate: 50,
  settings: { maxConcurrentStreams: streamsPerSession, maxHeaderListSize: 8 << 10 },
};

/** TLS 1.3 that asks for a client certificate and trusts only what `ca` signed; tokens need none. */
class OptionalClientCertificate extends ServerCredentials {
  constructor({ ca, cert, key }: TlsIdentity) {
    super(
      { requestCert: true, rejectUnauthorized: false, minVersion: "TLSv1.3", ...http2Limits },
      { ca, cert, key },
    );
  }
  override _equals(other: ServerCredentials): boolean {
    return this === other;
  }
}

const nameOf = (definition: ServiceDefinition): string =>
  Object.values(definition)[0]?.path.split("/")[1] ?? "";

/** Listens and answers. Health says NOT_SERVING until `setServing(true)`. */
export async function startRpcServer(options: RpcServerOptions): Promise<RpcServer> {
  const { services, permissions, logger, audit } = options;
  const server = new Server(limits);
  const authenticate = authenticator({
    verify: anyToken(tokenVerifier(options.tokenKeys), options.apiTokens),
    permissions,
    random: randomBytes,
  });
  const methods = services.flatMap(({ definition }) => Object.values(definition));
  const paths = methods.map(({ path }) => path);
  const unaryPaths = new Set(
    methods.filter(({ responseStream }) => !responseStream).map(({ path }) => path),
  );
  checkContract(paths, permissions, options.resources ?? resources);
  const rates = callRates({ ...defaultCallLimits, ...options.callLimits });
  const { ready, recheckMs } = options;
  const handling = { authenticate, logger, audit, rates, ready, recheckMs };
  for (const { definition, implementation } of services) {
    server.addService(definition, bindHandlers(implementation, handling));
  }
  const names = ["", ...services.map(({ definition }) => nameOf(definition))];
  const health = new HealthImplementation();
  const setServing = (isServing: boolean) => {
    for (const name of names) health.setStatus(name, isServing ? "SERVING" : "NOT_SERVING");
  };
  setServing(false);
  health.addToServer(server);
  if (options.reflection) addReflection(server);
  const port = await bind(server, options);
  for (const listening of http2ServersOf(server)) {
    const sessionLimits = { ...defaultSessionLimits, ...options.sessionLimits };
    guardSessions(listening, sessionLimits, { logger, isLong: (path) => !unaryPaths.has(path) });
  }
  const host = options.listen.slice(0, options.listen.lastIndexOf(":"));
  return {
    address: `${host}:${port}`,
    setServing,
    close: (graceMs) => closeWithin(server, graceMs),
  };
}

/** Each file is given once: reflection decodes those of every entry that it is given, at every start. */
function addReflection(server: Server): void {
  const set = new BinaryReader(
    readFileSync(new URL(import.meta.resolve("@chom/proto/descriptors"))),
  );
  const fileDescriptorProtos: Buffer[] = [];
  // A FileDescriptorSet is nothing but files in its field 1.
  while (set.pos < set.len) {
    set.tag();
    fileDescriptorProtos.push(Buffer.from(set.bytes()));
  }
  const type = {};
  const contract = { format: "Protocol Buffer 3 DescriptorProto", type, fileDescriptorProtos };
  new ReflectionService({ contract } as unknown as Contract).addToServer(server);
}
type Contract = ConstructorParameters<typeof ReflectionService>[0];

function bind(server: Server, { listen, tls }: RpcServerOptions): Promise<number> {
  const credentials = tls ? new OptionalClientCertificate(tls) : ServerCredentials.createInsecure();
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  server.bindAsync(listen, credentials, (cause, port) => {
    if (!cause) resolve(port);
    else reject(permanent("invalid-config", `cannot listen on ${listen}`, { cause }));
  });
  return promise;
}

/**
 * grpc-js keeps the HTTP/2 servers it made to itself, and only they know of connections. Should another version keep
 * them elsewhere, nothing starts: better than a server without its guard.
 */
function http2ServersOf(server: Server): Http2Server[] {
  const { http2Servers } = server as unknown as { http2Servers?: Map<Http2Server, unknown> };
  const found = [...(http2Servers?.keys() ?? [])];
  if (found.length > 0) return found;
  throw permanent("invalid-config", "this version of grpc-js hides its HTTP/2 servers elsewhere");
}

async function closeWithin(server: Server, graceMs: number): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(() => {
    server.forceShutdown();
    resolve();
  }, graceMs);
  server.tryShutdown(() => resolve());
  await promise;
  clearTimeout(timer);
}
