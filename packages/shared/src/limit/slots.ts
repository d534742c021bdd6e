/** Slots: how many jobs of a tenant, or on a server, run at once over all processes. Each is a lease, so crash-safe. */
import { hashId } from "../aggregate/id.ts";
import type { Lease, Leases } from "../lease/lease.ts";
import { leaseKey } from "../topology/subjects.ts";

/** 0 or undefined: no cap. */
export type Caps = {
  readonly server?: number | undefined;
  readonly tenant?: number | undefined;
};

export type Pool = {
  /** Whoever waits for one of its slots has a ticket for this key. */
  readonly key: string;
  readonly size: number;
};

const shortMax = 56;
const short = (id: string): string => (id.length > shortMax ? hashId("slot", id) : id);

/** The pools that a job takes a slot of, in the order in which they are taken. */
export function poolsOf(caps: Caps, tenant: string, server: string): readonly Pool[] {
  const pool = (noun: string, id: string, size = 0): Pool[] =>
    size > 0 ? [{ key: leaseKey(tenant, noun, short(id)), size }] : [];
  return [
    ...(server === "" ? [] : pool("slot-server", server, caps.server)),
    ...pool("slot-tenant", "all", caps.tenant),
  ];
}

/** One slot of a pool, or undefined when all are taken. Begins at a place of the owner's own, to spread the asking. */
export async function takeSlot(
  leases: Leases,
  { key, size }: Pool,
  owner: string,
): Promise<Lease | undefined> {
  const first = Number.parseInt(hashId(owner).slice(0, 6), 36) % size;
  for (let tried = 0; tried < size; tried += 1) {
    const acquired = await leases.acquire(`${key}-${(first + tried) % size}`, owner);
    if ("lease" in acquired) return acquired.lease;
  }
  return undefined;
}
