/** One upstream for each credential that has pages open, however many pages; told to each page at its own pace. */
import type { ServerResponse } from "node:http";
import { transient } from "@chom/shared/failure/failure";
import type { Secret } from "@chom/shared/secrets/secret";
import { fingerprint, type Services } from "../services.ts";
import { followLogs, type Upstream } from "./upstream.ts";

export type LiveHub = {
  /** How far the stream of this credential is; empty when nobody follows it. */
  position(token: Secret): string;
  /**
   * Answers with server-sent events until the browser leaves. Failure `transient` "too-many-requests" when too many
   * pages are open. `after` is what the browser has seen: when more has happened since, it is told to look again.
   */
  serve(
    token: Secret,
    wish: { topics: readonly string[]; after: string },
    to: ServerResponse,
  ): void;
  close(): void;
};

type Viewer = {
  readonly topics: ReadonlySet<string>;
  readonly to: ServerResponse;
  /** What it has not been told yet. */
  stale: "no" | "yes" | "all";
  timer: NodeJS.Timeout | undefined;
  isFull: boolean;
};

type Stream = {
  readonly viewers: Set<Viewer>;
  readonly end: AbortController;
  readonly upstream: Upstream;
  idle: NodeJS.Timeout | undefined;
};

type HubOptions = {
  readonly as: (token: Secret) => Services;
  /** Pages that may be open at once, all together. */
  readonly viewersMax: number;
};

const perSessionMax = 24;
/** Many entries within this time are one message. */
const gatherMs = 200;
const beatMs = 15_000;
/** So long a stream is kept for the next page of the same operator. */
const idleMs = 20_000;

const eventStream = {
  "content-type": "text/event-stream; charset=utf-8",
  "cache-control": "no-store",
  // Proxies must not gather it.
  "x-accel-buffering": "no",
} as const;

function send(stream: Stream, viewer: Viewer, event: string, data: object): void {
  const text = `id: ${stream.upstream.position()}\nevent: ${event}\ndata: ${JSON.stringify(data)}\n\n`;
  // A browser that does not read is told nothing more until it does; then everything at once.
  if (viewer.to.write(text)) return;
  viewer.isFull = true;
  viewer.to.once("drain", () => {
    viewer.isFull = false;
    if (viewer.stale !== "no") flush(stream, viewer);
  });
}

function flush(stream: Stream, viewer: Viewer): void {
  clearTimeout(viewer.timer);
  viewer.timer = undefined;
  if (viewer.isFull || viewer.stale === "no") return;
  const event = viewer.stale === "all" ? "look-again" : "stale";
  viewer.stale = "no";
  send(stream, viewer, event, { position: stream.upstream.position() });
}

function tell(stream: Stream, viewer: Viewer, what: "yes" | "all"): void {
  if (viewer.stale !== "all") viewer.stale = what;
  viewer.timer ??= setTimeout(() => flush(stream, viewer), gatherMs);
}

function openStream(services: Services): Stream {
  const end = new AbortController();
  const viewers = new Set<Viewer>();
  const each = (work: (viewer: Viewer) => void) => {
    for (const viewer of viewers) work(viewer);
  };
  const upstream = followLogs(
    services,
    {
      stale: (topics) =>
        each((viewer) => {
          if (topics.some((topic) => viewer.topics.has(topic))) tell(stream, viewer, "yes");
        }),
      missed: () => each((viewer) => tell(stream, viewer, "all")),
      connected: (isConnected) =>
        each((viewer) => {
          send(stream, viewer, "upstream", { isConnected });
          if (isConnected) tell(stream, viewer, "all");
        }),
      refused: (code) => each((viewer) => send(stream, viewer, "refused", { code })),
    },
    end.signal,
  );
  const stream: Stream = { viewers, end, upstream, idle: undefined };
  return stream;
}

/** The hub of the whole process. */
export function liveHub({ as, viewersMax }: HubOptions): LiveHub {
  const streams = new Map<string, Stream>();
  let count = 0;
  const leave = (key: string, stream: Stream, viewer: Viewer) => {
    if (!stream.viewers.delete(viewer)) return;
    count -= 1;
    clearTimeout(viewer.timer);
    if (stream.viewers.size > 0) return;
    stream.idle = setTimeout(() => {
      streams.delete(key);
      stream.end.abort();
    }, idleMs).unref();
  };
  const beat = setInterval(() => {
    for (const stream of streams.values()) {
      for (const viewer of stream.viewers) if (!viewer.isFull) send(stream, viewer, "beat", {});
    }
  }, beatMs).unref();
  return {
    position: (token) => streams.get(fingerprint(token))?.upstream.position() ?? "",
    serve(token, { topics, after }, to) {
      const key = fingerprint(token);
      const known = streams.get(key);
      if (count >= viewersMax || (known?.viewers.size ?? 0) >= perSessionMax) {
        throw transient("too-many-requests", "too many pages are open");
      }
      const stream = known ?? openStream(as(token));
      streams.set(key, stream);
      clearTimeout(stream.idle);
      const viewer: Viewer = {
        ...{ topics: new Set(topics), to, stale: "no", timer: undefined, isFull: false },
      };
      stream.viewers.add(viewer);
      count += 1;
      to.once("close", () => leave(key, stream, viewer));
      to.writeHead(200, eventStream);
      to.write("retry: 2000\n\n");
      send(stream, viewer, "upstream", { isConnected: stream.upstream.isConnected() });
      if (after !== stream.upstream.position()) tell(stream, viewer, "all");
    },
    close() {
      clearInterval(beat);
      for (const { end, viewers } of streams.values()) {
        end.abort();
        for (const { to } of viewers) to.end();
      }
      streams.clear();
    },
  };
}
