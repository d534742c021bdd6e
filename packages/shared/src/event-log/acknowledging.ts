/**
 * Acknowledging deliveries of one consumer: those of the same moment share one answer. The broker takes a consumer's
 * acknowledgements in the order in which a connection sends them, so the last one's answer speaks for all before it.
 */
import { ask, type Nats } from "./nats.ts";

type Waiting = {
  readonly reply: string;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
};

const timeoutMs = 2_000;

/**
 * Answers how to acknowledge a delivery by its reply subject; settled when the broker knows. Fails with
 * `log-unavailable` after 2 s for all that share the answer, also for those that the broker did take: whoever gets
 * such an item again finds its job done.
 */
export function acknowledging(nats: Nats): (reply: string) => Promise<void> {
  let waiting: Waiting[] = [];
  async function send(): Promise<void> {
    const group = waiting;
    waiting = [];
    const last = group.at(-1);
    if (!last) return;
    try {
      for (const each of group) if (each !== last) nats.publish(each.reply, "+ACK");
      await ask(nats, last.reply, "+ACK", { timeoutMs });
      for (const { resolve } of group) resolve();
    } catch (error) {
      for (const { reject } of group) reject(error);
    }
  }
  return (reply) =>
    new Promise((resolve, reject) => {
      waiting.push({ reply, resolve, reject });
      // Once everything of this turn of the event loop has arrived.
      if (waiting.length === 1) setImmediate(() => void send());
    });
}
