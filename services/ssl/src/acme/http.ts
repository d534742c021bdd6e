/** HTTP to one CA: TLS against given roots, no redirects, bounded bodies and times; every trouble is `acme-unreachable`. */
import { request as httpRequest, Agent as HttpAgent, type IncomingMessage } from "node:http";
import { request as httpsRequest, Agent as HttpsAgent } from "node:https";
import { failureOf } from "@chom/shared/failure/failure";
import { timed, timing } from "@chom/shared/telemetry/metrics";
import { inSpan } from "@chom/shared/telemetry/tracing";
import { printable, readRetryAfter } from "./problem.ts";

export type Answer = {
  readonly status: number;
  readonly header: (name: string) => string | undefined;
  readonly body: string;
  readonly retryAfterMs: number | undefined;
};

type HttpRequest = {
  readonly method: "GET" | "HEAD" | "POST";
  readonly url: string;
  readonly body?: string;
  readonly accept?: string;
};

export type Http = {
  send(request: HttpRequest, signal: AbortSignal): Promise<Answer>;
  close(): void;
};

export type HttpSettings = {
  /** PEM roots trusted instead of the system's. */
  readonly trustedRoots?: string;
  /** Per request, connecting included. */
  readonly timeoutMs: number;
  readonly now: () => Date;
};

const maxBodyBytes = 512 * 1024;
const userAgent = "chom-ssl/1 node:https";

const isLoopback = (hostname: string): boolean =>
  hostname === "localhost" || hostname === "[::1]" || /^127\./.test(hostname);

/** What requests are for, as ACME uses the methods: directory and renewal windows, nonces, signed requests. */
const operations = { GET: "get", HEAD: "nonce", POST: "post" } as const;

/** The origin of a directory's URL. Fails with `invalid-config` unless it is https, or http on this machine. */
export function originOf(directoryUrl: string): string {
  const url = URL.canParse(directoryUrl) ? new URL(directoryUrl) : null;
  if (url?.protocol === "https:" || (url?.protocol === "http:" && isLoopback(url.hostname))) {
    return url.origin;
  }
  throw failureOf(
    "invalid-config",
    `the ACME directory ${printable(directoryUrl, 200)} must be an https URL`,
  );
}

/** A connection pool for one CA; `close` ends idle connections. */
export function acmeHttp({ trustedRoots, timeoutMs, now }: HttpSettings): Http {
  const options = { keepAlive: true, maxSockets: 8 };
  const plain = new HttpAgent(options);
  const secure = new HttpsAgent({ ...options, ...(trustedRoots ? { ca: trustedRoots } : {}) });
  return {
    async send(request, signal) {
      const operation = operations[request.method];
      const facts = { "chom.acme.operation": operation };
      return timing(
        () =>
          inSpan({ name: `acme ${operation}`, kind: "client", facts }, () => ask(request, signal)),
        (outcome, tookMs) => timed("chom_acme_request_seconds", { operation, outcome }, tookMs),
      );
    },
    close() {
      plain.destroy();
      secure.destroy();
    },
  };

  async function ask({ method, url, body, accept }: HttpRequest, signal: AbortSignal) {
    signal.throwIfAborted();
    const bounded = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]);
    const isSecure = url.startsWith("https:");
    const headers = {
      "user-agent": userAgent,
      accept: accept ?? "application/json",
      ...(body === undefined
        ? {}
        : { "content-type": "application/jose+json", "content-length": Buffer.byteLength(body) }),
    };
    try {
      const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
      const send = isSecure ? httpsRequest : httpRequest;
      send(url, { method, headers, agent: isSecure ? secure : plain, signal: bounded })
        .on("response", resolve)
        .on("error", reject)
        .end(body);
      return await readAnswer(await promise, now());
    } catch (cause) {
      signal.throwIfAborted();
      throw unreachable(url, bounded.aborted ? `no answer within ${timeoutMs} ms` : cause);
    }
  }
}

async function readAnswer(response: IncomingMessage, now: Date): Promise<Answer> {
  const parts: Buffer[] = [];
  let size = 0;
  for await (const part of response as AsyncIterable<Buffer>) {
    size += part.length;
    if (size > maxBodyBytes) {
      response.destroy();
      throw new Error(`the answer is longer than ${maxBodyBytes} bytes`);
    }
    parts.push(part);
  }
  const header = (name: string): string | undefined => {
    const value = response.headers[name];
    return Array.isArray(value) ? value[0] : value;
  };
  return {
    status: response.statusCode ?? 0,
    header,
    body: Buffer.concat(parts).toString("utf8"),
    retryAfterMs: readRetryAfter(header("retry-after"), now),
  };
}

function unreachable(url: string, cause: unknown) {
  const why =
    cause instanceof Error
      ? `${(cause as { code?: string }).code ?? ""} ${cause.message}`
      : String(cause);
  return failureOf("acme-unreachable", `${new URL(url).origin}: ${printable(why.trim(), 300)}`, {
    cause,
  });
}
