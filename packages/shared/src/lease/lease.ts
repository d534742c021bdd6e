/**
 * Leases: the exclusive right to a key for a bounded time. A key is held by one owner (a job id); a new run of the
 * same owner takes it over, which ends the old run's right at its next renewal.
 */
import { failureOf } from "../failure/failure.ts";
import type { Nats } from "../event-log/nats.ts";
import { current, isGone, write } from "./bucket.ts";

/** How long a lease lives without renewal. The same for every lease, whatever the job's timeout. */
export const leaseTtlMs = 30_000;
/** Renew at least this often: three tries fit into a lease's life. */
export const renewEveryMs = 10_000;
/** Released keys leave a marker this long, for watchers. */
const markerSeconds = 5;
const racesMax = 10;

export type Lease = {
  readonly key: string;
  readonly owner: string;
  /** Tells this holder from an earlier run of the same owner. */
  readonly holder: string;
  /** Internal to the bucket; not the fence. */
  readonly revision: number;
};

export type HeldBy = { readonly key: string; readonly owner: string };
export type Acquired = { readonly lease: Lease } | { readonly heldBy: HeldBy };

export type LeaseOptions = {
  /** Default 30 s; whole seconds. */
  readonly ttlMs?: number;
  /** A new random text for each call. */
  readonly newHolder: () => string;
};

export type Leases = {
  /** Takes a free key, or one held by the same owner; otherwise says who holds it. Keys as made by `leaseKey`. */
  acquire(key: string, owner: string): Promise<Acquired>;
  /** All keys or none, taken in sorted order, so that two jobs never wait for each other. */
  acquireAll(
    keys: readonly string[],
    owner: string,
  ): Promise<{ readonly leases: readonly Lease[] } | { readonly heldBy: HeldBy }>;
  /**
   * Another full time to live; use the answered lease from now on. Failure `lease-lost` when it expired or was taken
   * over, `log-unavailable` when the broker is away: the holder must stop in both cases.
   */
  renew(lease: Lease): Promise<Lease>;
  /** Gives the key back; nothing happens when it is no longer held by this holder. */
  release(lease: Lease): Promise<void>;
  /** Who holds a key now. */
  held(key: string): Promise<HeldBy | undefined>;
};

type Value = { readonly owner: string; readonly holder: string };

/** Leases on a connection. */
export function leases(nats: Nats, { ttlMs = leaseTtlMs, newHolder }: LeaseOptions): Leases {
  const ttlSeconds = Math.max(1, Math.round(ttlMs / 1_000));
  const bodyOf = ({ owner, holder }: Value) => JSON.stringify({ owner, holder });

  async function acquire(key: string, owner: string): Promise<Acquired> {
    const holder = newHolder();
    let expected = 0;
    for (let races = 0; races < racesMax; races += 1) {
      const body = bodyOf({ owner, holder });
      const revision = await write(nats, { key, body, ttlSeconds, expected });
      if (revision !== "moved") return { lease: { key, owner, holder, revision } };
      const found = await current(nats, key);
      const value = found && !isGone(found) ? (JSON.parse(found.body) as Value) : undefined;
      if (found && value?.holder === holder) {
        return { lease: { key, owner, holder, revision: found.sequence } };
      }
      if (value && value.owner !== owner) return { heldBy: { key, owner: value.owner } };
      expected = found?.sequence ?? 0;
    }
    throw failureOf("lock-busy", `the lease ${key} changes hands too fast`);
  }

  async function renew(lease: Lease): Promise<Lease> {
    const { key, revision: expected } = lease;
    const revision = await write(nats, { key, body: bodyOf(lease), ttlSeconds, expected });
    if (revision !== "moved") return { ...lease, revision };
    const found = await current(nats, key);
    const value = found && !isGone(found) ? (JSON.parse(found.body) as Value) : undefined;
    // Our own renewal, whose answer was lost.
    if (found && value?.holder === lease.holder) return { ...lease, revision: found.sequence };
    const why = value ? `${value.owner} holds it now` : "it expired";
    throw failureOf("lease-lost", `the lease ${key} was lost: ${why}`);
  }

  async function release({ key, revision: expected }: Lease): Promise<void> {
    await write(nats, { key, body: "", ttlSeconds: markerSeconds, expected, remove: true });
  }

  async function acquireAll(keys: readonly string[], owner: string) {
    const taken: Lease[] = [];
    for (const key of [...new Set(keys)].toSorted()) {
      const acquired = await acquire(key, owner);
      if ("lease" in acquired) taken.push(acquired.lease);
      else {
        for (const lease of taken.toReversed()) await release(lease);
        return acquired;
      }
    }
    return { leases: taken };
  }

  return {
    acquire,
    acquireAll,
    renew,
    release,
    async held(key) {
      const found = await current(nats, key);
      if (!found || isGone(found)) return undefined;
      return { key, owner: (JSON.parse(found.body) as Value).owner };
    },
  };
}
