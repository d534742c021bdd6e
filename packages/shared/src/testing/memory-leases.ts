/** Leases and tickets in memory. */
import { failureOf } from "../failure/failure.ts";
import type { Clock } from "../job/clock.ts";
import type { Claims } from "../lease/claims.ts";
import { type Lease, type Leases, leaseTtlMs } from "../lease/lease.ts";
import type { Ticket, Tickets } from "../lease/tickets.ts";

type Held = { owner: string; holder: string; revision: number; until: number };

export type MemoryLeases = {
  readonly leases: Leases;
  readonly tickets: Tickets;
  readonly claims: Claims;
};

/** Nothing is held at first. */
export function memoryLeases(clock: Clock): MemoryLeases {
  const held = new Map<string, Held>();
  const waiting: Ticket[] = [];
  const listeners = new Set<(oldest: Ticket) => unknown>();
  let revisions = 0;
  const nowMs = () => clock.now().getTime();
  const alive = (key: string) => {
    const found = held.get(key);
    return found && found.until > nowMs() ? found : undefined;
  };
  const oldest = (key: string) =>
    waiting.filter((each) => each.key === key).toSorted((a, b) => (a.id < b.id ? -1 : 1));

  async function acquire(key: string, owner: string) {
    const found = alive(key);
    if (found && found.owner !== owner) return { heldBy: { key, owner: found.owner } };
    revisions += 1;
    const holder = `holder-${revisions}`;
    held.set(key, { owner, holder, revision: revisions, until: nowMs() + leaseTtlMs });
    return { lease: { key, owner, holder, revision: revisions } };
  }
  async function release({ key, holder }: Lease): Promise<void> {
    if (held.get(key)?.holder !== holder) return;
    held.delete(key);
    const [first] = oldest(key.includes(".slot-") ? key.replace(/-\d+$/, "") : key);
    if (first) for (const wake of listeners) queueMicrotask(() => wake(first));
  }
  const leases: Leases = {
    acquire,
    release,
    async acquireAll(keys, owner) {
      const taken: Lease[] = [];
      for (const key of [...new Set(keys)].toSorted()) {
        const acquired = await acquire(key, owner);
        if ("lease" in acquired) taken.push(acquired.lease);
        else {
          for (const lease of taken) await release(lease);
          return acquired;
        }
      }
      return { leases: taken };
    },
    async renew(lease) {
      const found = alive(lease.key);
      if (found?.holder !== lease.holder) throw failureOf("lease-lost", `${lease.key} was lost`);
      found.until = nowMs() + leaseTtlMs;
      return lease;
    },
    async held(key) {
      const found = alive(key);
      return found && { key, owner: found.owner };
    },
  };
  return {
    leases,
    tickets: memoryTickets(waiting, oldest, listeners),
    claims: memoryClaims(),
  };
}

function memoryTickets(
  waiting: Ticket[],
  oldest: (key: string) => Ticket[],
  listeners: Set<(oldest: Ticket) => unknown>,
): Tickets {
  return {
    async take(ticket) {
      if (!waiting.some(({ key, id }) => key === ticket.key && id === ticket.id)) {
        waiting.push(ticket);
      }
      return oldest(ticket.key).findIndex(({ id }) => id === ticket.id);
    },
    async drop({ key, id }) {
      const at = waiting.findIndex((each) => each.key === key && each.id === id);
      if (at >= 0) waiting.splice(at, 1);
    },
    mustYield: () => false,
    waiting: async (key) => oldest(key),
    onReleased(wake) {
      listeners.add(wake);
      return () => listeners.delete(wake);
    },
  };
}

function memoryClaims(): Claims {
  const claimed = new Map<string, { owner: string | undefined; revision: number }>();
  const nothing = { owner: undefined, revision: 0 };
  let revisions = 0;
  const put = (key: string, owner: string | undefined) => {
    revisions += 1;
    claimed.set(key, { owner, revision: revisions });
  };
  return {
    read: async (key) => claimed.get(key) ?? nothing,
    async take(key, owner, revision) {
      if ((claimed.get(key) ?? nothing).revision !== revision) return false;
      put(key, owner);
      return true;
    },
    async drop(key, owner) {
      if (claimed.get(key)?.owner === owner) put(key, undefined);
    },
  };
}
