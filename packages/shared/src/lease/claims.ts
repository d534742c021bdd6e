/** Claims: which job has a unique key. They live until dropped; the owner's journal says whether one still counts. */
import type { Nats } from "../event-log/nats.ts";
import { current, isGone, write } from "./bucket.ts";

/** Dropped claims leave a marker this long. */
const markerSeconds = 5;

export type Claim = {
  /** A job's id; undefined: nobody has the key. */
  readonly owner: string | undefined;
  /** For `take`; 0 when there never was a claim. */
  readonly revision: number;
};

export type Claims = {
  /** From the leader: never older than an answered `take`. */
  read(key: string): Promise<Claim>;
  /** False when the claim is no longer the one that was read: read it again. */
  take(key: string, owner: string, revision: number): Promise<boolean>;
  /** Frees the key if this owner has it. */
  drop(key: string, owner: string): Promise<void>;
};

/** Claims on a connection, in the bucket `leases`. Every method fails with `log-unavailable` when it is away. */
export function claims(nats: Nats): Claims {
  async function read(key: string): Promise<Claim> {
    const found = await current(nats, key);
    if (!found) return { owner: undefined, revision: 0 };
    const owner = isGone(found) ? undefined : found.body;
    return { owner, revision: found.sequence };
  }
  return {
    read,
    take: async (key, owner, expected) =>
      (await write(nats, { key, body: owner, expected })) !== "moved",
    async drop(key, owner) {
      const { owner: holder, revision: expected } = await read(key);
      if (holder !== owner) return;
      await write(nats, { key, body: "", ttlSeconds: markerSeconds, expected, remove: true });
    },
  };
}
