/** The HTTP listener for those who look after the process: probes and metrics. It tells no names, ids or secrets. */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { permanent } from "../failure/failure.ts";

/** What a process says of itself; changed by whoever starts and stops it. */
export type Condition = {
  /** Everything was started once. */
  started: boolean;
  /** Ready for calls and work. */
  ready: boolean;
  /** On its way to its end. */
  draining: boolean;
  /** Names of the checks that failed last. */
  failed: readonly string[];
};

export type Probes = {
  /** `host:port` really listened on. */
  readonly address: string;
  readonly close: () => Promise<void>;
};

type Answer = { readonly status: number; readonly body: object };

/** What each path answers; undefined: there is no such path. Pure. */
export function probeAnswer(path: string, condition: Condition): Answer | undefined {
  const { started, ready, draining, failed } = condition;
  const told = (holds: boolean, body: object): Answer => ({ status: holds ? 200 : 503, body });
  switch (path) {
    case "/livez":
      // That anything answers shows that the event loop turns; nothing outside may have the process killed.
      return told(true, { alive: true });
    case "/startupz":
      return told(started, { started });
    case "/readyz":
      return told(started && ready && !draining, { started, ready, draining, failed });
    default:
      return undefined;
  }
}

type Metrics = (request: IncomingMessage, response: ServerResponse) => void;

function respond(
  { request, response }: { request: IncomingMessage; response: ServerResponse },
  condition: Condition,
  metrics: Metrics,
): void {
  const [path = ""] = (request.url ?? "").split("?");
  const isRead = request.method === "GET" || request.method === "HEAD";
  if (isRead && path === "/metrics") {
    metrics(request, response);
    return;
  }
  const { status, body } = (isRead && probeAnswer(path, condition)) || { status: 404, body: {} };
  response.writeHead(status, { "content-type": "application/json", "cache-control": "no-store" });
  response.end(`${JSON.stringify(body)}\n`);
}

/** Listens on `host:port`; port 0 takes a free one. Failure `permanent` "invalid-config" when it cannot. */
export async function startProbes(
  listen: string,
  condition: Condition,
  metrics: Metrics,
): Promise<Probes> {
  const server = createServer(
    { requestTimeout: 5_000, maxHeaderSize: 4_096 },
    (request, response) => respond({ request, response }, condition, metrics),
  );
  // Whoever comes with many connections must not take the process's descriptors.
  server.maxConnections = 64;
  const colon = listen.lastIndexOf(":");
  const host = listen.slice(0, colon);
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once("error", (cause) =>
    reject(permanent("invalid-config", `cannot listen on ${listen}`, { cause })),
  );
  server.listen(Number(listen.slice(colon + 1)), host.replace(/^\[|\]$/g, ""), resolve);
  await promise;
  server.unref();
  const { port } = server.address() as AddressInfo;
  return {
    address: `${host}:${port}`,
    close: () =>
      new Promise((done) => {
        server.close(() => done());
        server.closeAllConnections();
      }),
  };
}
