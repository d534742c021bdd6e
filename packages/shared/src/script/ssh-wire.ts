/** The socket below an SSH connection: reached in time, its peer's offer judged before the client hears of it, its bytes in bounds. */
import { once } from "node:events";
import { Socket } from "node:net";
import type { Readable } from "node:stream";
import { classify, type Failure, failureOf } from "../failure/failure.ts";
import { checkOffer, offerReader } from "./server-offer.ts";

/** How long each part of a log-in may take. Failure `ssh-connect-timeout` names the part that did not end. */
export type Deadlines = {
  /** TCP; default 10 s. */
  readonly reachMs: number;
  /** Greeting and offer; default 10 s. */
  readonly greetMs: number;
  /** Keys and the host's proof; default 10 s. */
  readonly exchangeMs: number;
  /** The log-in with the signer's part of it; default 15 s. */
  readonly loginMs: number;
  /** A channel with its command; default 20 s. */
  readonly channelMs: number;
  /** The first word of the launcher, which says it at once; default 60 s, for sudo may be slow. */
  readonly beginMs: number;
  /** The end of a channel that has said its last word; default 10 s. */
  readonly closeMs: number;
};

export const defaultDeadlines: Deadlines = {
  reachMs: 10_000,
  greetMs: 10_000,
  exchangeMs: 10_000,
  loginMs: 15_000,
  channelMs: 20_000,
  beginMs: 60_000,
  closeMs: 10_000,
};

const kibibyte = 1_024;
const mebibyte = kibibyte * kibibyte;
/** A real log-in takes 4 KiB, a banner some more. */
const maxLoginBytes = 256 * kibibyte;
/** Twice the window that the client grants. */
const maxUnreadBytes = 4 * mebibyte;
const freeOverheadBytes = 512 * kibibyte;

/** Fails with `ssh-connect-timeout` when a part of the log-in is not over in its time. */
export type Phases = { enter(part: string, timeoutMs: number): void; over(): void };

export function phases(address: string, fail: (failure: Failure) => void): Phases {
  let timer: NodeJS.Timeout | undefined;
  return {
    enter(part, timeoutMs) {
      clearTimeout(timer);
      const late = () =>
        fail(
          failureOf("ssh-connect-timeout", `${address}: ${part} took more than ${timeoutMs} ms`),
        );
      timer = setTimeout(late, timeoutMs);
    },
    over: () => clearTimeout(timer),
  };
}

/** A connected socket; rejects with the socket's error or the signal's reason. */
export async function reach(
  target: { readonly address: string; readonly port: number },
  signal: AbortSignal,
): Promise<Socket> {
  const socket = new Socket();
  // Nagle and delayed acknowledgements together stall window updates: measured, 50 instead of 560 MB/s.
  socket.setNoDelay(true);
  // What comes before a client listens waits in the socket.
  socket.pause();
  socket.connect({ host: target.address, port: target.port });
  try {
    await once(socket, "connect", { signal });
    return socket;
  } catch (error) {
    socket.destroy();
    throw signal.aborted ? signal.reason : error;
  }
}

export type Wire = {
  /** From now on the caps of a session count, not those of a log-in. */
  loggedIn(): void;
  /** Lets what is delivered through a channel's stream count as use, and bounds what waits in it unread. */
  meter(stream: Readable): void;
  /** Counts a key exchange after the first. */
  rekeyed(): void;
};

/**
 * Watches the socket; must be called before the client listens to it, so that a bad offer is known before the client
 * answers it. `fail` gets `weak-crypto` or `ssh-misbehaving`.
 */
export function watchWire(
  socket: Socket,
  { fail, offered }: { fail: (failure: Failure) => void; offered: () => void },
): Wire {
  const reader = offerReader();
  let isIn = false;
  let usedBytes = 0;
  let rekeys = 0;
  const misbehaves = (what: string) => fail(failureOf("ssh-misbehaving", `the server ${what}`));
  socket.on("data", (chunk: Buffer) => {
    try {
      const offer = reader.read(chunk);
      if (offer) {
        checkOffer(offer);
        offered();
      }
    } catch (error) {
      return fail(classify(error));
    }
    const came = socket.bytesRead;
    if (!isIn && came > maxLoginBytes) return misbehaves("talks without an end before the log-in");
    // Windows, requests, unknown channels, ignored messages: all that is no use to us, in proportion to what is.
    const free = freeOverheadBytes + usedBytes / 4 + socket.bytesWritten / 16;
    if (came - usedBytes > free) misbehaves("sends more noise than data");
  });
  // The client starts the flow when it listens.
  socket.pause();
  return {
    loggedIn: () => {
      isIn = true;
    },
    meter(stream) {
      const push = stream.push.bind(stream);
      stream.push = (chunk, encoding) => {
        if (Buffer.isBuffer(chunk)) usedBytes += chunk.length;
        const more = push(chunk, encoding);
        // The client library does not hold a server to its window.
        if (stream.readableLength > maxUnreadBytes) misbehaves("sends more than it was allowed to");
        return more;
      };
    },
    rekeyed() {
      rekeys += 1;
      const due = 16 + (socket.bytesRead + socket.bytesWritten) / (16 * mebibyte);
      if (rekeys > due) misbehaves("exchanges keys again and again");
    },
  };
}
