/** Tickets of those who wait for a lease: on its release the oldest is woken, so that nobody is overtaken for ever. */
import { getBatch, type Nats } from "../event-log/nats.ts";
import { kvSubject } from "../topology/subjects.ts";
import { isGone, stream, write } from "./bucket.ts";

/** A ticket nobody renews is forgotten after this long. */
export const ticketTtlMs = 600_000;
const markerSeconds = 5;

export type Ticket = {
  readonly key: string;
  /** Time-ordered, as `timeId` makes them: sorts by who came first. */
  readonly id: string;
  /** The job that waits. */
  readonly owner: string;
  /** Who is to wake it. */
  readonly family: string;
};

export type Tickets = {
  /** Queues up, or stays in the queue: give the same id again before the ticket's time is up. */
  take(ticket: Ticket): Promise<void>;
  /** Leaves the queue; idempotent. */
  drop(ticket: Pick<Ticket, "key" | "id">): Promise<void>;
  /** Those who wait for a key, oldest first. */
  waiting(key: string): Promise<readonly Ticket[]>;
  /**
   * Calls back with the oldest waiter when a lease is released or expires. A hint that may miss: whoever waits also
   * polls. Answers how to stop.
   */
  onReleased(wake: (oldest: Ticket) => void): () => void;
};

const ticketKey = ({ key, id }: Pick<Ticket, "key" | "id">): string => `wait.${key}.${id}`;
/** Whoever waits for a slot waits for any of its pool: `acme.slot-server.s1-3` → `acme.slot-server.s1`. */
const waitedFor = (key: string, noun = ""): string =>
  noun.startsWith("slot-") ? key.replace(/-\d+$/, "") : key;
const livePrefix = "live.lease.";

/** Tickets on a connection. */
export function tickets(nats: Nats, { ttlMs = ticketTtlMs }: { ttlMs?: number } = {}): Tickets {
  async function waiting(key: string): Promise<readonly Ticket[]> {
    const found: Ticket[] = [];
    const filter = `${kvSubject("leases", `wait.${key}`)}.*`;
    for (let seq = 1; ; ) {
      const { messages, pending } = await getBatch(nats, stream, {
        seq,
        next_by_subj: filter,
        batch: 1_000,
      });
      for (const message of messages) {
        if (!isGone(message)) found.push(JSON.parse(message.body) as Ticket);
      }
      const last = messages.at(-1);
      if (!last || pending === 0) break;
      seq = last.sequence + 1;
    }
    return found.toSorted((a, b) => (a.id < b.id ? -1 : 1));
  }

  return {
    waiting,
    async take(ticket) {
      const ttlSeconds = Math.max(1, Math.round(ttlMs / 1_000));
      await write(nats, { key: ticketKey(ticket), body: JSON.stringify(ticket), ttlSeconds });
    },
    async drop(ticket) {
      const key = ticketKey(ticket);
      await write(nats, { key, body: "", ttlSeconds: markerSeconds, remove: true });
    },
    onReleased(wake) {
      const released = (key: string) =>
        waiting(key).then(
          ([oldest]) => oldest && wake(oldest),
          // Only a hint: polling finds the free lease later.
          () => undefined,
        );
      const subscription = nats.subscribe(`${livePrefix}>`, {
        callback: (error, message) => {
          if (error) return;
          const key = message.subject.slice(livePrefix.length);
          const gone =
            message.headers?.has("KV-Operation") || message.headers?.has("Nats-Marker-Reason");
          // Tickets have five parts and keys three, so a tenant called "wait" is no trouble.
          const [, noun, , ...more] = key.split(".");
          // Nobody queues for the lease of a run, and there is one for every job: looking would cost a scan each.
          if (gone && more.length === 0 && noun !== "run") {
            void released(waitedFor(key, noun));
          }
        },
      });
      return () => subscription.unsubscribe();
    },
  };
}
