/** The private keys: made here, sealed before they are stored, opened for one signature, forgotten at the end. */
import type { Database } from "@chom/shared/projection/database";
import type { Sealer } from "@chom/shared/secrets/sealer";
import { Secret } from "@chom/shared/secrets/secret";
import { failureOf } from "@chom/shared/failure/failure";
import { and, eq } from "drizzle-orm";
import type { NewKey } from "./server.ts";
import { fingerprintOf, newKeyPair, signWith } from "./ssh-key.ts";
import { keys } from "./tables.ts";

type KeyAddress = {
  readonly tenant: string;
  readonly serverId: string;
  readonly keyId: string;
};

export type KeyStore = {
  /** The key of this id, made when there is none: asking twice is one key. */
  create(address: KeyAddress): Promise<NewKey>;
  /** Raw signature; Failure `key-missing` when the private half is gone. */
  sign(address: KeyAddress, data: Buffer): Promise<Buffer>;
  /** Deletes the private half for good; public half and fingerprint stay. */
  forget(address: KeyAddress): Promise<void>;
};

const context = ({ serverId, keyId }: KeyAddress) => ["ssh-key", serverId, keyId];

type Parts = { readonly db: Database; readonly sealer: Sealer; now(): Date };

export function keyStore({ db, sealer, now }: Parts): KeyStore {
  const at = ({ tenant, serverId, keyId }: KeyAddress) =>
    and(eq(keys.tenant, tenant), eq(keys.serverId, serverId), eq(keys.keyId, keyId));
  const find = async (address: KeyAddress) => (await db.select().from(keys).where(at(address)))[0];
  return {
    async create(address) {
      await sealer.ready(address.tenant);
      const { publicKey, privateKey } = newKeyPair(`chom:${address.serverId}:${address.keyId}`);
      const der = privateKey.reveal();
      const sealed = sealer.seal(address.tenant, context(address), der);
      der.fill(0);
      await db
        .insert(keys)
        .values({
          ...address,
          publicKey,
          fingerprint: fingerprintOf(publicKey),
          sealedWith: sealed.keyId,
          sealed: sealed.ciphertext,
          createdAt: now(),
        })
        .onConflictDoNothing();
      // Whoever came first made the key that counts.
      const found = await find(address);
      if (!found) throw failureOf("key-missing", `the key ${address.keyId} was not stored`);
      return { keyId: found.keyId, publicKey: found.publicKey, fingerprint: found.fingerprint };
    },
    async sign(address, data) {
      const found = await find(address);
      if (!found?.sealed || !found.sealedWith) {
        throw failureOf("key-missing", `the private half of ${address.keyId} is gone`);
      }
      const box = { keyId: found.sealedWith, ciphertext: found.sealed };
      await sealer.ready(address.tenant);
      return signWith(new Secret(sealer.open(address.tenant, context(address), box)), data);
    },
    async forget(address) {
      await db
        .update(keys)
        .set({ sealed: null, sealedWith: null, forgottenAt: now() })
        .where(at(address));
    },
  };
}
