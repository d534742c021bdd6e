/** The one place that speaks to the broker's client library: connecting, asking, and the JetStream API raw. */
import { readFileSync } from "node:fs";
import {
  connect,
  headers as newHeaders,
  type Msg,
  type MsgHdrs,
  type NatsConnection,
  NoRespondersError,
  nkeyAuthenticator,
  TimeoutError,
} from "@nats-io/transport-node";
import { failureOf, transient } from "../failure/failure.ts";
import type { Secret } from "../secrets/secret.ts";
import { count } from "../telemetry/metrics.ts";
import { listen } from "./inbox.ts";
import { lightRequest } from "./light-request.ts";

/** A connection that knows where its user may listen. */
export type Nats = NatsConnection & { readonly inboxPrefix: string };

export type NatsOptions = {
  readonly servers: string | readonly string[];
  /** Shown in the broker's connection list. */
  readonly name: string;
  /** nkey seed of the user; left out only against a broker without users. */
  readonly seed?: Secret | undefined;
  /** Prefix that the user may listen on, `_INBOX_<user>`. */
  readonly inboxPrefix?: string;
  /** With it the connection is TLS and the broker must show a certificate of this CA. */
  readonly caFile?: string | undefined;
};

/** Connects and keeps reconnecting for ever. Fails with `log-unavailable` when nobody answers at first. */
export async function connectNats(options: NatsOptions): Promise<Nats> {
  const { servers, name, seed, inboxPrefix = "_INBOX", caFile } = options;
  try {
    const connection = await connect({
      servers: typeof servers === "string" ? servers : [...servers],
      name,
      timeout: 5_000,
      maxReconnectAttempts: -1,
      reconnectTimeWait: 250,
      // A half-open connection is noticed after two of these.
      pingInterval: 10_000,
      maxPingOut: 2,
      inboxPrefix,
      // A stack for each request costs more than the request.
      noAsyncTraces: true,
      ...(seed
        ? { authenticator: nkeyAuthenticator(new TextEncoder().encode(seed.reveal().trim())) }
        : {}),
      ...(caFile ? { tls: { ca: readFileSync(caFile, "utf8") } } : {}),
    });
    const nats: Nats = Object.assign(connection, { inboxPrefix });
    countReconnects(nats);
    return Object.assign(nats, { request: lightRequest(nats) });
  } catch (error) {
    throw transient("log-unavailable", "the broker does not answer", { cause: error });
  }
}

function countReconnects(nats: Nats): void {
  const follow = async () => {
    for await (const { type } of nats.status()) {
      if (type === "reconnect") count("chom_nats_reconnects_total", {});
    }
  };
  // The iterator ends with the connection, whose owner hears of that elsewhere.
  follow().catch(() => undefined);
}

/** An error that the JetStream API answered. `code` is its `err_code`, like 10071. */
export type ApiFault = { readonly code: number; readonly description: string };

/** Either what was asked for or the API's error; throws `log-unavailable` when there is no answer in time. */
export type Answer<T> = { readonly ok: T } | { readonly fault: ApiFault };

const timeoutMsDefault = 5_000;

/** One request; throws `log-unavailable` on timeouts, missing responders and lost connections. */
export async function ask(
  nats: Nats,
  subject: string,
  body: string | Uint8Array = "",
  options: { headers?: Readonly<Record<string, string>>; timeoutMs?: number } = {},
): Promise<Msg> {
  try {
    return await nats.request(subject, body, {
      timeout: options.timeoutMs ?? timeoutMsDefault,
      ...(options.headers ? { headers: headersOf(options.headers) } : {}),
    });
  } catch (error) {
    throw unavailable(error, subject);
  }
}

function unavailable(error: unknown, subject: string): Error {
  const silent = error instanceof TimeoutError || error instanceof NoRespondersError;
  const denied = error instanceof Error && /permissions violation/i.test(String(error));
  if (denied) return failureOf("log-forbidden", `the broker forbids ${subject}`, { cause: error });
  const why = silent ? "does not answer" : "failed";
  return transient("log-unavailable", `the broker ${why} on ${subject}`, { cause: error });
}

/** Calls `$JS.API.<verb>`. */
export async function api<T>(
  nats: Nats,
  verb: string,
  body?: unknown,
  timeoutMs?: number,
): Promise<Answer<T>> {
  const text = body === undefined ? "" : JSON.stringify(body);
  const reply = await ask(nats, `$JS.API.${verb}`, text, timeoutMs ? { timeoutMs } : {});
  return answerOf<T>(reply);
}

/** Publishes into a stream and waits for its acknowledgement. */
export async function publish(
  nats: Nats,
  subject: string,
  body: string,
  options: { headers?: Readonly<Record<string, string>>; timeoutMs?: number } = {},
): Promise<Answer<{ seq: number; duplicate?: boolean }>> {
  return answerOf(await ask(nats, subject, body, options));
}

function answerOf<T>(reply: Msg): Answer<T> {
  const json = reply.json<{ error?: { err_code?: number; code?: number; description?: string } }>();
  if (!json.error) return { ok: json as T };
  const { err_code = 0, code = 0, description = "unknown error" } = json.error;
  return { fault: { code: err_code || code, description } };
}

/** The value of an answer; a fault becomes `log-unavailable` with the broker's words. */
export function valueOf<T>(answer: Answer<T>, doing: string): T {
  if ("ok" in answer) return answer.ok;
  const { code, description } = answer.fault;
  throw transient("log-unavailable", `${doing}: ${description} (${code})`);
}

const lineBreak = /[\r\n]/;

/**
 * Headers as the client library wants them for sending, and for nothing else: written at once, because its own way
 * looks through all names for each one that is set. Throws a TypeError on a line break, which could smuggle in others.
 */
export function headersOf(record: Readonly<Record<string, string>>): MsgHdrs {
  let text = "NATS/1.0\r\n";
  for (const name of Object.keys(record)) {
    const line = `${name}: ${record[name]}`;
    if (lineBreak.test(line)) throw new TypeError(`a line break in the header ${name}`);
    text += `${line}\r\n`;
  }
  text += "\r\n";
  const encoded = Buffer.from(text);
  return Object.assign(newHeaders(), { encode: () => encoded, toString: () => text });
}

/** A message as a stream keeps it. */
export type StoredMessage = {
  readonly subject: string;
  readonly sequence: number;
  readonly body: string;
  /** When the broker stored it, where that was asked for. */
  readonly time?: Date;
  /** Empty when the message has no such header. */
  header(name: string): string;
};

/**
 * The last message of a subject, the first of a filter from a sequence on, or the one at a sequence, asked of the stream's leader: never
 * stale, unlike direct gets on a replicated stream.
 */
export async function getFromLeader(
  nats: Nats,
  stream: string,
  query: { last_by_subj: string } | { seq: number; next_by_subj?: string },
): Promise<StoredMessage | undefined> {
  const answer = await api<{
    message: { subject: string; seq: number; hdrs?: string; data?: string; time: string };
  }>(nats, `STREAM.MSG.GET.${stream}`, query);
  if ("fault" in answer && answer.fault.code === noMessage) return undefined;
  const { message } = valueOf(answer, `reading ${stream}`);
  const lines = Buffer.from(message.hdrs ?? "", "base64")
    .toString()
    .split("\r\n");
  const found = new Map(
    lines.slice(1).map((line) => {
      const colon = line.indexOf(":");
      return [line.slice(0, colon), line.slice(colon + 1).trim()];
    }),
  );
  return {
    subject: message.subject,
    sequence: message.seq,
    time: new Date(message.time),
    body: Buffer.from(message.data ?? "", "base64").toString(),
    header: found.has(echoMark) ? noHeader : (name) => found.get(name) ?? "",
  };
}

/**
 * A direct get's answer carries this. Stored, it is an echo: somebody named a foreign subject as the reply of a request,
 * which the broker's permissions do not look at. Such a message keeps no word of its envelope, so that it is nobody's fact.
 */
const echoMark = "Nats-Sequence";
const noHeader = (): string => "";

/** True for a delivery of what was never published. */
export const isEcho = (message: Pick<Msg, "headers">): boolean =>
  message.headers?.has(echoMark) === true;

const noMessage = 10037;

type Question = {
  readonly subject: string;
  readonly body: string;
  readonly quietMs: number;
  readonly signal?: AbortSignal | undefined;
  /**
   * On an inbox of its own: for deliveries, which keep their stream's subject and so cannot be told apart, and of which
   * the broker must know whether anybody still listens.
   */
  readonly own?: boolean;
};

/**
 * Collects the answers to one request: until `done` sees a message that ends them (not collected), there are `enough`,
 * or it gets too quiet.
 */
export function askMany(
  nats: Nats,
  request: Question,
  done: (message: Msg) => boolean,
  enough: () => boolean = () => false,
): Promise<{ messages: Msg[]; quiet: boolean }> {
  return new Promise((resolve, reject) => {
    const messages: Msg[] = [];
    const { reply, end: unlisten } = listen(nats, request.own === true, (error, message) => {
      if (error) return fail(error);
      if (done(message)) return end(false);
      messages.push(message);
      if (enough()) return end(false);
      timer.refresh();
    });
    const clear = () => {
      clearTimeout(timer);
      request.signal?.removeEventListener("abort", aborted);
      unlisten();
    };
    const fail = (error: unknown) => {
      clear();
      reject(unavailable(error, request.subject));
    };
    const end = (quiet: boolean) => {
      clear();
      resolve({ messages, quiet });
    };
    const aborted = () => end(true);
    const timer = setTimeout(() => end(true), request.quietMs);
    request.signal?.addEventListener("abort", aborted, { once: true });
    if (request.signal?.aborted) return end(true);
    try {
      nats.publish(request.subject, request.body, { reply });
    } catch (error) {
      fail(error);
    }
  });
}

/** Up to `batch` messages from a sequence on, by a direct get: fast, served by any replica, so maybe a little stale. */
export async function getBatch(
  nats: Nats,
  stream: string,
  query: { seq: number; next_by_subj: string; batch: number; max_bytes?: number },
): Promise<{ messages: StoredMessage[]; pending: number }> {
  const subject = `$JS.API.DIRECT.GET.${stream}`;
  let failed: string | undefined;
  const { messages, quiet } = await askMany(
    nats,
    { subject, body: JSON.stringify(query), quietMs: timeoutMsDefault },
    (message) => {
      const code = message.headers?.code ?? 0;
      if (code >= 400 && code !== 404) failed = `${code} ${message.headers?.description}`;
      return code === 204 || code >= 400;
    },
  );
  if (failed || quiet) {
    throw transient("log-unavailable", `reading ${stream}: ${failed ?? "no answer in time"}`);
  }
  const last = messages.at(-1)?.headers?.values("Nats-Num-Pending").at(-1);
  return { messages: messages.map(fromDirectGet), pending: Number(last ?? 0) };
}

function fromDirectGet(message: Msg): StoredMessage {
  // The broker adds its own behind those that an echo was stored with: the last ones are true.
  const last = (name: string) => message.headers?.values(name).at(-1) ?? "";
  const stored = message.headers?.values(echoMark).length === 1;
  return {
    subject: last("Nats-Subject"),
    sequence: Number(last(echoMark)),
    time: new Date(last("Nats-Time-Stamp")),
    body: message.string(),
    header: stored ? (name) => message.headers?.get(name) ?? "" : noHeader,
  };
}
