/**
 * What a connection may cost before any call is authenticated: how many there are, how long they take to begin, how
 * often they ping, and how long a request or an unread answer may hang. gRPC and node leave these open.
 */
import {
  constants,
  type Http2Server,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from "node:http2";
import type { Socket } from "node:net";
import type { Logger } from "../telemetry/logger.ts";

export type SessionLimits = {
  /** Connections of this process; what comes beyond is closed at once. */
  readonly connections: number;
  /** The same of one address. Callers behind one proxy share it. */
  readonly connectionsPerAddress: number;
  /** From the connection to the first frame of HTTP/2, TLS included. */
  readonly greetingMs: number;
  /** Pings in any ten seconds; clients that measure their bandwidth send some for each answer. */
  readonly pings: number;
  /** Changes of settings in any ten seconds. */
  readonly settings: number;
  /** From the first header of a request to its last byte. */
  readonly requestMs: number;
  /** From the end of an answer until it is read. */
  readonly unreadMs: number;
  /** From the first header of a request with one answer until that is read: deadlines end the work before. */
  readonly unaryMs: number;
};

export const defaultSessionLimits: SessionLimits = {
  connections: 4_000,
  connectionsPerAddress: 200,
  greetingMs: 10_000,
  pings: 200,
  settings: 20,
  requestMs: 20_000,
  unreadMs: 60_000,
  unaryMs: 140_000,
};

const windowMs = 10_000;
/** Node holds only those to the announced limit who have acknowledged it. */
const headerBytesMax = 8 << 10;
/** As HTTP/2 counts: names, values and 32 bytes for each pair. */
const sizeOf = (raw: readonly string[]): number =>
  raw.reduce((bytes, text) => bytes + text.length + 16, 0);

const reportMs = 10_000;

type Open = {
  readonly stream: ServerHttp2Stream;
  readonly beganAt: number;
  /** Answers with more than one message: it may go on. */
  readonly isLong: boolean;
  endedAt?: number;
};
type Guard = {
  readonly limits: SessionLimits;
  /** Counted, and told to the log at most every ten seconds: a flood must not flood the log as well. */
  readonly refuse: (why: string) => void;
};

/** True while there were no more than `most` in the window that the first one opened. */
function within(most: number): () => boolean {
  let [count, since] = [0, 0];
  return () => {
    const now = performance.now();
    if (now - since > windowMs) [count, since] = [0, now];
    count += 1;
    return count <= most;
  };
}

function end(session: ServerHttp2Session): void {
  if (session.destroyed) return;
  session.goaway(constants.NGHTTP2_ENHANCE_YOUR_CALM);
  session.destroy(undefined, constants.NGHTTP2_ENHANCE_YOUR_CALM);
}

const addressOf = ({ remoteAddress, remotePort }: Socket): string =>
  `${remoteAddress}:${remotePort}`;

/** Counts connections as they come, before TLS, and ends those that do not begin. */
function watchConnections(server: Http2Server, { limits, refuse }: Guard) {
  const counts = new Map<string, number>();
  const greetings = new Map<string, () => void>();
  server.maxConnections = limits.connections;
  server.on("drop", () => refuse("connections"));
  server.prependListener("connection", (socket: Socket) => {
    const { remoteAddress = "" } = socket;
    const count = (counts.get(remoteAddress) ?? 0) + 1;
    if (count > limits.connectionsPerAddress) {
      refuse("connections of one address");
      socket.destroy();
      return;
    }
    counts.set(remoteAddress, count);
    const key = addressOf(socket);
    const late = () => {
      refuse("no greeting");
      socket.destroy();
    };
    const timer = setTimeout(late, limits.greetingMs);
    greetings.set(key, () => clearTimeout(timer));
    socket.once("close", () => {
      clearTimeout(timer);
      greetings.delete(key);
      const left = (counts.get(remoteAddress) ?? 1) - 1;
      if (left > 0) counts.set(remoteAddress, left);
      else counts.delete(remoteAddress);
    });
  });
  return { greeted: (socket: Socket) => greetings.get(addressOf(socket))?.() };
}

/** The caller has neither sent the last byte of the request nor been answered. */
const isArriving = (stream: ServerHttp2Stream): boolean =>
  !stream.destroyed && stream.state.state === constants.NGHTTP2_STREAM_STATE_OPEN;

function cutOff(stream: ServerHttp2Stream, why: string, { refuse }: Guard): void {
  refuse(why);
  stream.on("error", () => {});
  stream.close(constants.NGHTTP2_ENHANCE_YOUR_CALM);
  stream.destroy();
}

/**
 * Answers a request whose messages are compressed, or say so by an odd flag, with UNIMPLEMENTED. Nobody of ours
 * compresses, so there is nothing to inflate before a caller is known. gRPC itself inflates gzip, and takes flags that
 * are none for plain.
 */
function refuseCompression(
  stream: ServerHttp2Stream,
  encoding: string | undefined,
  { refuse }: Guard,
): boolean {
  const answer = (details: string) => {
    refuse("compression");
    stream.on("error", () => {});
    if (stream.headersSent || stream.destroyed) return;
    stream.respond(
      {
        ...{ ":status": 200, "content-type": "application/grpc+proto" },
        ...{ "grpc-status": "12", "grpc-message": details, "grpc-accept-encoding": "identity" },
      },
      { endStream: true },
    );
    stream.close(constants.NGHTTP2_NO_ERROR);
  };
  if (encoding !== undefined && encoding !== "identity") {
    answer("compression-unsupported: messages must not be compressed");
    return true;
  }
  // A request is one message, so its first byte is the only flag.
  stream.once("data", (bytes: Buffer) => {
    if (bytes[0] !== 0) answer("compression-unsupported: the flag of the message is not 0");
  });
  return false;
}

function hanging(each: Open, limits: SessionLimits, now: number): string | undefined {
  const { stream, beganAt, isLong, endedAt = now } = each;
  if (now - beganAt > limits.requestMs && isArriving(stream)) return "request not whole";
  const isUnread = now - endedAt > limits.unreadMs || (!isLong && now - beganAt > limits.unaryMs);
  return isUnread ? "answer not read" : undefined;
}

/** Ends what hangs: a request that does not arrive whole, an answer that nobody reads. */
function sweep(open: ReadonlySet<Open>, guard: Guard): void {
  const now = performance.now();
  for (const each of open) {
    const { stream } = each;
    if (stream.writableEnded) each.endedAt ??= now;
    const why = hanging(each, guard.limits, now);
    if (why === undefined) continue;
    cutOff(stream, why, guard);
  }
}

/** Watches over the connections of a server until it closes. `isLong` knows the paths that answer with a stream. */
export function guardSessions(
  server: Http2Server,
  limits: SessionLimits,
  { logger, isLong }: { logger: Logger; isLong: (path: string) => boolean },
): void {
  const refused = new Map<string, number>();
  const guard: Guard = {
    limits,
    refuse: (why) => refused.set(why, (refused.get(why) ?? 0) + 1),
  };
  const { greeted } = watchConnections(server, guard);
  const open = new Set<Open>();
  server.on("session", (session: ServerHttp2Session) => {
    const [mayPing, maySet] = [within(limits.pings), within(limits.settings)];
    session.on("ping", () => {
      if (mayPing()) return;
      guard.refuse("pings");
      end(session);
    });
    session.on("remoteSettings", () => {
      if (session.socket) greeted(session.socket);
      if (maySet()) return;
      guard.refuse("settings");
      end(session);
    });
    // Before gRPC's own listener, which then finds a stream that is over.
    session.prependListener("stream", (stream, headers, _flags, rawHeaders: readonly string[]) => {
      const isLarge = sizeOf(rawHeaders) > headerBytesMax;
      if (isLarge) return cutOff(stream, "headers too large", guard);
      const encoding = headers["grpc-encoding"];
      if (refuseCompression(stream, encoding?.toString(), guard)) return;
      const path = String(headers[":path"]);
      const each: Open = { stream, beganAt: performance.now(), isLong: isLong(path) };
      open.add(each);
      stream.once("close", () => open.delete(each));
    });
  });
  const sweepMs = Math.max(
    50,
    Math.min(1_000, limits.requestMs / 4, limits.unreadMs / 4, limits.unaryMs / 4),
  );
  const sweeper = setInterval(() => sweep(open, guard), sweepMs).unref();
  const reporter = setInterval(() => {
    if (refused.size === 0) return;
    logger.warn({ refused: Object.fromEntries(refused) }, "connections or requests were cut off");
    refused.clear();
  }, reportMs).unref();
  server.once("close", () => {
    clearInterval(sweeper);
    clearInterval(reporter);
  });
}
