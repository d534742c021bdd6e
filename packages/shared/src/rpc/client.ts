/** Calls to a service of CHOM: promises and async iterables with deadlines, and Failures instead of gRPC errors. */
import { isIP } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { checkServerIdentity } from "node:tls";
import {
  type CallOptions,
  type ChannelCredentials,
  Client,
  credentials,
  Metadata,
  type ServiceError,
} from "@grpc/grpc-js";
import { classify } from "../failure/failure.ts";
import type { Secret } from "../secrets/secret.ts";
import { currentTraceparent, inSpan } from "../telemetry/tracing.ts";
import { failureFromStatus } from "./status.ts";

type Method<Request, Response, Streams extends boolean> = {
  readonly path: string;
  readonly responseStream: Streams;
  readonly requestSerialize: (value: Request) => Buffer;
  readonly responseDeserialize: (value: Buffer) => Response;
};

// biome-ignore lint/suspicious/noExplicitAny: request and response differ by method.
type Definition = Readonly<Record<string, Method<any, any, boolean>>>;

export type CallSettings = {
  /** From now; default 10 s for one answer, none for streams. */
  readonly deadlineMs?: number;
  readonly signal?: AbortSignal;
  readonly traceparent?: string;
  /** Who asks, where one connection serves many: over the token of the connection. */
  readonly token?: Secret;
};

/** The methods of a generated service definition as functions. */
export type Calls<D extends Definition> = {
  readonly [Name in keyof D]: D[Name] extends Method<infer Request, infer Response, infer Streams>
    ? (
        request: Request,
        settings?: CallSettings,
      ) => Streams extends true ? AsyncIterable<Response> : Promise<Response>
    : never;
};

export type ConnectOptions = {
  /** `host:port`. */
  readonly address: string;
  /** Left out only towards a plain server in development. `cert` and `key` are the mutual-TLS identity. */
  readonly tls?: {
    readonly ca: Buffer;
    readonly cert?: Buffer;
    readonly key?: Buffer;
    /** Name in the server's certificate when it is not that of the address. */
    readonly serverName?: string;
  };
  /** Asked before each call, so that a renewed token is used. */
  readonly token?: () => Secret | Promise<Secret>;
};

const defaultDeadlineMs = 10_000;

/** Sent as the server's name where the address is an IP, which must not be sent (RFC 6066, 3). */
const nameOfAddress = "server.chom.internal";

const hostOf = (address: string): string =>
  address.slice(0, address.lastIndexOf(":")).replace(/^\[|\]$/g, "");

/** The certificate is checked against the address itself, or against `serverName` where one is given. */
function channelCredentials({ tls, address }: ConnectOptions): ChannelCredentials {
  if (!tls) return credentials.createInsecure();
  const host = tls.serverName ?? hostOf(address);
  return credentials.createSsl(tls.ca, tls.key ?? null, tls.cert ?? null, {
    checkServerIdentity: (_, certificate) => checkServerIdentity(host, certificate),
  });
}

function serverNameOf({ tls, address }: ConnectOptions): Record<string, string> {
  const name = tls?.serverName ?? (isIP(hostOf(address)) === 0 ? undefined : nameOfAddress);
  return tls && name ? { "grpc.ssl_target_name_override": name } : {};
}

/** Connects (lazily) to a service; throws nothing before the first call. */
export function connectRpc<D extends Definition>(
  definition: D,
  options: ConnectOptions,
): { readonly calls: Calls<D>; close(): void } {
  const client = new Client(options.address, channelCredentials(options), {
    ...serverNameOf(options),
    "grpc.keepalive_time_ms": 20_000,
    "grpc.keepalive_timeout_ms": 10_000,
    "grpc.max_receive_message_length": 4 << 20,
    "grpc.initial_reconnect_backoff_ms": 200,
    "grpc.max_reconnect_backoff_ms": 5_000,
  });
  const calls = Object.entries(definition).map(([name, method]) => [
    name,
    method.responseStream
      ? (request: unknown, settings: CallSettings = {}) =>
          streamCall(client, options, method, { request, settings })
      : (request: unknown, settings: CallSettings = {}) =>
          unaryCall(client, options, method, { request, settings }),
  ]);
  return { calls: Object.fromEntries(calls) as Calls<D>, close: () => client.close() };
}

type Asked = { readonly request: unknown; readonly settings: CallSettings };
// biome-ignore lint/suspicious/noExplicitAny: as in Definition.
type AnyMethod = Method<any, any, boolean>;

async function metadataOf(options: ConnectOptions, settings: CallSettings): Promise<Metadata> {
  const metadata = new Metadata();
  const token = settings.token ?? (await options.token?.());
  if (token) metadata.set("authorization", `Bearer ${token.reveal()}`);
  const traceparent = settings.traceparent ?? currentTraceparent();
  if (traceparent) metadata.set("traceparent", traceparent);
  return metadata;
}

const deadline = (ms: number | undefined): CallOptions =>
  ms === undefined ? {} : { deadline: Date.now() + ms };

/** A call as a span. */
function unaryCall(
  client: Client,
  options: ConnectOptions,
  method: AnyMethod,
  asked: Asked,
): Promise<unknown> {
  const { path } = method;
  const about = { name: path, kind: "client", facts: { "rpc.method": path } } as const;
  return inSpan(about, () => call(client, options, method, asked));
}

/** Calls; a call that was refused because there were too many is repeated when the server said, within its deadline. */
async function call(
  client: Client,
  options: ConnectOptions,
  method: AnyMethod,
  { request, settings }: Asked,
): Promise<unknown> {
  const giveUpAt = performance.now() + (settings.deadlineMs ?? defaultDeadlineMs);
  for (let deadlineMs = settings.deadlineMs; ; deadlineMs = giveUpAt - performance.now()) {
    const limited = deadlineMs === undefined ? settings : { ...settings, deadlineMs };
    try {
      return await callOnce(client, options, method, { request, settings: limited });
    } catch (error) {
      const { code, retryAfterMs } = classify(error);
      // A message that is too large has the same code, and no time at which it would be smaller.
      if (code !== "too-many-requests" || retryAfterMs === undefined) throw error;
      if (performance.now() + retryAfterMs >= giveUpAt) throw error;
      await sleep(retryAfterMs, undefined, settings.signal ? { signal: settings.signal } : {});
    }
  }
}

async function callOnce(
  client: Client,
  options: ConnectOptions,
  method: AnyMethod,
  { request, settings }: Asked,
): Promise<unknown> {
  settings.signal?.throwIfAborted();
  const metadata = await metadataOf(options, settings);
  const { promise, resolve, reject } = Promise.withResolvers<unknown>();
  const call = client.makeUnaryRequest(
    method.path,
    method.requestSerialize,
    method.responseDeserialize,
    request,
    metadata,
    deadline(settings.deadlineMs ?? defaultDeadlineMs),
    (error, response) => (error ? reject(failureFromStatus(error)) : resolve(response)),
  );
  const cancel = () => call.cancel();
  settings.signal?.addEventListener("abort", cancel, { once: true });
  return promise.finally(() => settings.signal?.removeEventListener("abort", cancel));
}

async function* streamCall(
  client: Client,
  options: ConnectOptions,
  method: AnyMethod,
  { request, settings }: Asked,
): AsyncIterable<unknown> {
  settings.signal?.throwIfAborted();
  const call = client.makeServerStreamRequest(
    method.path,
    method.requestSerialize,
    method.responseDeserialize,
    request,
    await metadataOf(options, settings),
    deadline(settings.deadlineMs),
  );
  const cancel = () => call.cancel();
  settings.signal?.addEventListener("abort", cancel, { once: true });
  try {
    for await (const response of call) yield response;
  } catch (error) {
    throw isServiceError(error) ? failureFromStatus(error) : error;
  } finally {
    settings.signal?.removeEventListener("abort", cancel);
    // Errors of a call that is being left have nobody to go to.
    call.on("error", () => {});
    call.cancel();
  }
}

const isServiceError = (error: unknown): error is ServiceError =>
  error instanceof Error && "code" in error && "metadata" in error;
