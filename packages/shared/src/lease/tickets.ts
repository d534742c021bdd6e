/** Tickets of those who wait for a lease: on its release the oldest is woken, so that nobody is overtaken for ever. */
import { getBatch, type Nats } from "../event-log/nats.ts";
import { kvSubject } from "../topology/subjects.ts";
import { current, isGone, stream, write } from "./bucket.ts";
import { lines } from "./lines.ts";

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

/** Whether a ticket's owner still waits. */
export type Woken = Promise<"woken" | "gone"> | void;

export type Tickets = {
  /**
   * Queues up, or stays in the queue: give the same id again before the ticket's time is up. Answers how many are ahead,
   * as far as this process listens and has heard. `awayMs`: the ticket lives that much longer, because its owner stays away.
   */
  take(ticket: Ticket, awayMs?: number): Promise<number>;
  /** Leaves the queue; idempotent. */
  drop(ticket: Pick<Ticket, "key" | "id">): Promise<void>;
  /** True for the moment in which an older one that was woken is on its way to a key: whoever comes then queues up. */
  mustYield(ticket: Pick<Ticket, "key" | "id">): boolean;
  /** Those who wait for a key, oldest first. */
  waiting(key: string): Promise<readonly Ticket[]>;
  /**
   * Calls back with the oldest waiter when a lease is released or expires; with the next one when that answers "gone".
   * A hint that may miss: whoever waits also polls. Answers how to stop.
   */
  onReleased(wake: (oldest: Ticket) => Woken): () => void;
};

const ticketKey = ({ key, id }: Pick<Ticket, "key" | "id">): string => `wait.${key}.${id}`;
/** Whoever waits for a slot waits for any of its pool: `acme.slot-server.s1-3` → `acme.slot-server.s1`. */
const waitedFor = (key: string, noun = ""): string =>
  noun.startsWith("slot-") ? key.replace(/-\d+$/, "") : key;
const livePrefix = "live.lease.";
/** So long a woken job is waited for, before anyone may be faster. */
const yieldMs = 2_000;
/** As many dead tickets as are passed over at one release. */
const goneMax = 100;

/** Ticket and key from `wait.<tenant>.<noun>.<id>.<ticket>`; undefined for a lease's own key. */
function ticketIn(key: string): { key: string; id: string } | undefined {
  const [wait, tenant, noun, id, ticket] = key.split(".");
  if (wait !== "wait" || ticket === undefined) return undefined;
  return { key: `${tenant}.${noun}.${id}`, id: ticket };
}

/** All tickets, or those for one key, in no order. */
async function listed(nats: Nats, filter: string): Promise<Ticket[]> {
  const found: Ticket[] = [];
  for (let seq = 1; ; ) {
    const { messages, pending } = await getBatch(nats, stream, {
      ...{ seq, next_by_subj: filter, batch: 1_000 },
    });
    for (const message of messages) {
      if (!isGone(message)) found.push(JSON.parse(message.body) as Ticket);
    }
    const last = messages.at(-1);
    if (!last || pending === 0) return found;
    seq = last.sequence + 1;
  }
}

/** Tickets on a connection. */
export function tickets(nats: Nats, { ttlMs = ticketTtlMs }: { ttlMs?: number } = {}): Tickets {
  const known = lines();
  const calledAt = new Map<string, number>();

  /** The line is only heard of: a ticket that the broker no longer has is passed over. */
  async function call(key: string, wake: (oldest: Ticket) => Woken): Promise<void> {
    for (let gone = 0; gone < goneMax; gone += 1) {
      const id = known.oldest(key);
      if (id === undefined) return;
      const found = await current(nats, ticketKey({ key, id }));
      if (found && !isGone(found)) {
        calledAt.set(key, performance.now());
        if ((await wake(JSON.parse(found.body) as Ticket)) !== "gone") return;
      }
      known.drop(key, id);
    }
  }

  return {
    waiting: async (key) =>
      (await listed(nats, `${kvSubject("leases", `wait.${key}`)}.*`)).toSorted((a, b) =>
        a.id < b.id ? -1 : 1,
      ),
    async take(ticket, awayMs = 0) {
      const ttlSeconds = Math.max(1, Math.round((ttlMs + awayMs) / 1_000));
      await write(nats, { key: ticketKey(ticket), body: JSON.stringify(ticket), ttlSeconds });
      return known.ahead(ticket.key, ticket.id);
    },
    async drop(ticket) {
      const key = ticketKey(ticket);
      calledAt.delete(ticket.key);
      await write(nats, { key, body: "", ttlSeconds: markerSeconds, remove: true });
    },
    mustYield({ key, id }) {
      const at = calledAt.get(key);
      if (at === undefined) return false;
      if (performance.now() - at < yieldMs) return known.ahead(key, id) > 0;
      calledAt.delete(key);
      return false;
    },
    onReleased(wake) {
      // Only a hint: polling finds the free lease later.
      const hint = (freed: string) => void call(freed, wake).catch(() => undefined);
      const hear = (filter: string) =>
        nats.subscribe(`${livePrefix}${filter}`, {
          callback: (error, message) => {
            if (error) return;
            const key = message.subject.slice(livePrefix.length);
            const gone =
              message.headers?.has("KV-Operation") || message.headers?.has("Nats-Marker-Reason");
            const ticket = ticketIn(key);
            if (ticket) return known[gone ? "drop" : "put"](ticket.key, ticket.id);
            const [, noun] = key.split(".");
            if (gone) hint(waitedFor(key, noun));
          },
        });
      // Leases that are waited for have three parts and tickets five. Those of runs, one for every job, have four.
      const subscriptions = [hear("*.*.*"), hear("wait.*.*.*.*")];
      // Whoever queued up before is heard of anew when it looks for itself, should this fail.
      void listed(nats, `${kvSubject("leases", "wait")}.>`).then(
        (found) => {
          for (const { key, id } of found) known.put(key, id);
        },
        () => undefined,
      );
      return () => {
        for (const subscription of subscriptions) subscription.unsubscribe();
      };
    },
  };
}
