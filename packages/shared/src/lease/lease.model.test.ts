/** Leases and tickets as they are, on a bucket in memory and a clock that stands still, against a simple oracle. */
import fc from "fast-check";
import { beforeEach, expect, test, vi } from "vitest";
import type { Nats, StoredMessage } from "../event-log/nats.ts";
import { type FakeClock, fakeClock, settled } from "../testing/fake-clock.ts";
import { type MemoryBucket, memoryBucket } from "../testing/memory-bucket.ts";
import { subjectMatches } from "../topology/subjects.ts";
import type { Write } from "./bucket.ts";
import { type Lease, leases, leaseTtlMs } from "./lease.ts";
import { type Ticket, tickets, ticketTtlMs } from "./tickets.ts";

let clock: FakeClock;
let bucket: MemoryBucket;
/** Keys in the order in which values were written to them. */
let writes: string[];

vi.mock("./bucket.ts", async (load) => ({
  ...(await load<typeof import("./bucket.ts")>()),
  current: async (_: Nats, key: string) => bucket.current(key),
  write: async (_: Nats, request: Write) => {
    const answer = bucket.write(request);
    if (answer !== "moved" && !request.remove) writes.push(request.key);
    return answer;
  },
}));
vi.mock("../event-log/nats.ts", async (load) => ({
  ...(await load<typeof import("../event-log/nats.ts")>()),
  getBatch: async (_: Nats, __: string, { next_by_subj }: { next_by_subj: string }) => {
    const prefix = next_by_subj.replace("$KV.leases.", "").replace(/\*$/, "");
    const messages: readonly StoredMessage[] = bucket.beginning(prefix);
    return { messages, pending: 0 };
  },
}));

type Live = (error: null, message: { subject: string; headers: Map<string, string> }) => void;

/** A connection on which only the live copies of the bucket's writes arrive. */
const nats = {
  subscribe: (filter: string, { callback }: { callback: Live }) => {
    bucket.onWrite((key, gone) => {
      if (!subjectMatches(filter, `live.lease.${key}`)) return;
      const headers = new Map(gone === "" ? [] : [[gone, "MaxAge"]]);
      callback(null, { subject: `live.lease.${key}`, headers });
    });
    return { unsubscribe: () => {} };
  },
} as unknown as Nats;

function begin() {
  clock = fakeClock();
  bucket = memoryBucket(clock);
  writes = [];
  let holders = 0;
  return leases(nats, {
    newHolder: () => {
      holders += 1;
      return `holder-${holders}`;
    },
  });
}
beforeEach(() => void begin());

const keys = ["acme.site.a", "acme.site.b", "acme.site.c"];
const owners = ["job-1", "job-2", "job-3"];
const key = fc.constantFrom(...keys);
const owner = fc.constantFrom(...owners);
const step = fc.oneof(
  fc.record({ do: fc.constant("acquire" as const), key, owner }),
  fc.record({
    do: fc.constant("all" as const),
    keys: fc.shuffledSubarray(keys, { minLength: 1 }),
    owner,
  }),
  fc.record({ do: fc.constant("renew" as const), pick: fc.nat() }),
  fc.record({ do: fc.constant("release" as const), pick: fc.nat() }),
  fc.record({
    do: fc.constant("wait" as const),
    ms: fc.constantFrom(1_000, leaseTtlMs / 2, leaseTtlMs - 1_000, leaseTtlMs),
  }),
);

/** Who holds a key, by which of all leases that were ever granted, and until when. */
type Held = { owner: string; lease: number; untilMs: number };

test("a key has one holder at a time, in whatever order it is asked for, renewed, released and left to expire", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
      const real = begin();
      const oracle = new Map<string, Held>();
      const granted: Lease[] = [];
      const nowMs = () => clock.now().getTime();
      const holderOf = (of: string) => {
        const held = oracle.get(of);
        return held && held.untilMs > nowMs() ? held : undefined;
      };
      const highest = new Map<string, number>();
      const grant = (lease: Lease) => {
        // Each new right to a key has a higher number than every one before.
        expect(lease.revision).toBeGreaterThan(highest.get(lease.key) ?? 0);
        highest.set(lease.key, lease.revision);
        const { owner: by } = lease;
        oracle.set(lease.key, {
          ...{ owner: by, lease: granted.push(lease) - 1, untilMs: nowMs() + leaseTtlMs },
        });
      };
      for (const each of steps) {
        if (each.do === "wait") await clock.advance(each.ms);
        else if (each.do === "acquire") {
          const before = holderOf(each.key);
          const answer = await real.acquire(each.key, each.owner);
          expect("lease" in answer).toBe(!before || before.owner === each.owner);
          if ("lease" in answer) grant(answer.lease);
          else expect(answer.heldBy).toEqual({ key: each.key, owner: before?.owner });
        } else if (each.do === "all") {
          const sorted = each.keys.toSorted();
          const blocked = sorted.findIndex((of) => {
            const before = holderOf(of);
            return before && before.owner !== each.owner;
          });
          writes = [];
          const answer = await real.acquireAll(each.keys, each.owner);
          const taken = blocked < 0 ? sorted : sorted.slice(0, blocked);
          // Taken in one order by everybody, so that two never wait for each other.
          expect(writes).toEqual(taken);
          expect("leases" in answer).toBe(blocked < 0);
          if ("leases" in answer) answer.leases.forEach(grant);
          // None, also those that an earlier run of the same job had.
          else for (const of of taken) oracle.delete(of);
        } else {
          const at = granted.length === 0 ? -1 : each.pick % granted.length;
          const lease = granted[at];
          if (!lease) continue;
          const held = holderOf(lease.key);
          const isMine = held?.lease === at;
          if (each.do === "release") {
            await real.release(lease);
            if (isMine) oracle.delete(lease.key);
          } else if (held && isMine) {
            granted[at] = await real.renew(lease);
            held.untilMs = nowMs() + leaseTtlMs;
            highest.set(lease.key, granted[at].revision);
          } else await expect(real.renew(lease)).rejects.toMatchObject({ code: "lease-lost" });
        }
        for (const of of keys) {
          const held = holderOf(of);
          expect(await real.held(of)).toEqual(held && { key: of, owner: held.owner });
        }
      }
    }),
    { numRuns: 150 },
  );
});

test("whenever a lease ends, by release or by expiry, its oldest waiter is woken, and once", async () => {
  const waiters = fc.array(fc.record({ key, order: fc.integer({ min: 10, max: 99 }) }), {
    maxLength: 6,
  });
  const endings = fc.array(fc.record({ key, expires: fc.boolean() }), { maxLength: 8 });
  await fc.assert(
    fc.asyncProperty(waiters, endings, async (waiting, ends) => {
      const real = begin();
      const queue = tickets(nats);
      const woken: string[] = [];
      queue.onReleased(({ id }) => void woken.push(id));
      const model: Ticket[] = [];
      for (const [index, { key: of, order }] of waiting.entries()) {
        const ticket = { key: of, id: `${order}-${index}`, owner: `job-${index}`, family: "ssl" };
        await queue.take(ticket);
        // Asking again keeps the place.
        await queue.take(ticket);
        model.push(ticket);
      }
      let sinceMs = 0;
      for (const { key: of, expires } of ends) {
        const acquired = await real.acquire(of, "holder");
        if (!("lease" in acquired)) throw new Error("the key is not free");
        const [oldest] = model.filter((each) => each.key === of).toSorted(byAge);
        woken.length = 0;
        if (expires && sinceMs + leaseTtlMs < ticketTtlMs) {
          await clock.advance(leaseTtlMs);
          sinceMs += leaseTtlMs;
        } else await real.release(acquired.lease);
        await settled();
        expect(woken).toEqual(oldest ? [oldest.id] : []);
        expect((await queue.waiting(of))[0]?.id).toBe(oldest?.id);
        if (!oldest) continue;
        await queue.drop(oldest);
        model.splice(model.indexOf(oldest), 1);
      }
    }),
    { numRuns: 100 },
  );
});
const byAge = (a: Ticket, b: Ticket): number => (a.id < b.id ? -1 : 1);
