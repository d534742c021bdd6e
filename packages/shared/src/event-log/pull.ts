/** Pulling from durable consumers, raw: bounded waits, so a lost connection never leaves a loop asleep. */
import type { Msg } from "@nats-io/transport-node";
import { transient } from "../failure/failure.ts";
import { ask, askMany, isEcho, type Nats } from "./nats.ts";

/** A message that must be acknowledged. */
export type Pulled = {
  readonly subject: string;
  readonly body: string;
  /** Where its acknowledgement goes. */
  readonly reply: string;
  /** Sequence in its stream. */
  readonly sequence: number;
  /** How often it was delivered, this time included. */
  readonly deliveries: number;
  /** Empty when the message has no such header. */
  header(name: string): string;
  /** Done with it; not waited for, so it may be delivered once more when the connection breaks now. */
  ack(): void;
  /**
   * Done with it, and the broker knows. Fails with `log-unavailable` after 2 s, also when a restarted broker forgot
   * the delivery: then pull again instead of repeating this.
   */
  ackSure(): Promise<void>;
  /** Deliver it again, after a delay; the delay counts against the consumer's max_ack_pending. */
  nak(delayMs?: number): void;
  /** Still at it: restarts the consumer's ack_wait. */
  working(): void;
  /** Never deliver it again. */
  term(reason: string): void;
};

export type PullOptions = {
  readonly stream: string;
  readonly consumer: string;
  /** At most this many, 1 to 256. */
  readonly batch: number;
  /** How long to wait for the first one; 0 answers at once. */
  readonly waitMs: number;
  readonly signal?: AbortSignal;
};

const ends = new Set([204, 404, 408, 409, 503]);

/**
 * What is there, perhaps nothing. A broker that went away counts as nothing once the wait is over, so the caller
 * just pulls again. Fails with `log-unavailable` when the consumer is gone or the broker refuses.
 */
export async function pull(nats: Nats, options: PullOptions): Promise<Pulled[]> {
  const { stream, consumer, batch, waitMs, signal } = options;
  const wait = waitMs === 0 ? { no_wait: true } : { expires: waitMs * 1_000_000 };
  let received = 0;
  let refused: string | undefined;
  const { messages } = await askMany(
    nats,
    {
      subject: `$JS.API.CONSUMER.MSG.NEXT.${stream}.${consumer}`,
      body: JSON.stringify({ batch, ...wait }),
      quietMs: waitMs + 2_000,
      signal,
      own: true,
    },
    (message) => {
      const code = message.headers?.code ?? 0;
      if (
        code === 503 ||
        (code === 409 && /deleted|not found/i.test(message.headers?.description ?? ""))
      ) {
        refused = `${code} ${message.headers?.description ?? ""}`;
      }
      if (ends.has(code)) return true;
      received += 1;
      return false;
    },
    () => received >= batch,
  );
  if (refused && messages.length === 0) {
    throw transient("log-unavailable", `pulling from ${stream}/${consumer}: ${refused}`);
  }
  return messages.map((message) => pulled(nats, message));
}

function pulled(nats: Nats, message: Msg): Pulled {
  const reply = message.reply ?? "";
  const tokens = reply.split(".");
  // $JS.ACK.<stream>.<consumer>.<deliveries>.<sequence>… or, with domain and account in front, two tokens later.
  const at = tokens.length >= 11 ? 6 : 4;
  return {
    subject: message.subject,
    body: message.string(),
    reply,
    sequence: Number(tokens[at + 1]),
    deliveries: Number(tokens[at]),
    header: (name) => (isEcho(message) ? "" : (message.headers?.get(name) ?? "")),
    ack: () => nats.publish(reply, "+ACK"),
    ackSure: async () => void (await ask(nats, reply, "+ACK", { timeoutMs: 2_000 })),
    nak: (delayMs) =>
      nats.publish(
        reply,
        delayMs ? `-NAK ${JSON.stringify({ delay: delayMs * 1_000_000 })}` : "-NAK",
      ),
    working: () => nats.publish(reply, "+WPI"),
    term: (reason) => nats.publish(reply, `+TERM ${reason}`),
  };
}
