/** The key of our account at a CA: made once, kept sealed in Postgres, never in a file or a setting. */
import { setTimeout as sleep } from "node:timers/promises";
import type { Sealer } from "@chom/shared/secrets/sealer";
import { Secret } from "@chom/shared/secrets/secret";
import type { App } from "@chom/shared/service/app";
import { eq } from "drizzle-orm";
import { newAccountKey } from "./acme/jws.ts";
import { acmeAccounts } from "./tables.ts";

const owner = "platform";

const startTries = 60;

/** Of a new system the first key is made by credentials, which may start later than we. */
async function keysOf(tenant: string, sealer: Pick<Sealer, "ready">): Promise<void> {
  for (let tries = 1; ; tries += 1) {
    try {
      await sealer.ready(tenant);
      return;
    } catch (error) {
      if (tries >= startTries) throw error;
      await sleep(500);
    }
  }
}

/** The account key for this CA; made at the first call, by one of several replicas. Fails with `key-missing`, `seal-broken`. */
export async function loadAccountKey(
  { db, sealer }: Pick<App, "db" | "sealer">,
  directoryUrl: string,
): Promise<Secret> {
  const context = ["acme-account", directoryUrl];
  const stored = () =>
    db.select().from(acmeAccounts).where(eq(acmeAccounts.directoryUrl, directoryUrl));
  await keysOf(owner, sealer);
  let [found] = await stored();
  if (!found) {
    const sealed = sealer.seal(owner, context, Buffer.from(newAccountKey().reveal()));
    const row = {
      directoryUrl,
      keyId: sealed.keyId,
      sealedKey: sealed.ciphertext.toString("base64"),
    };
    await db.insert(acmeAccounts).values(row).onConflictDoNothing();
    // Read again: another replica may have been first, and its key is the account's.
    [found] = await stored();
  }
  if (!found) throw new Error("the account key that was just stored is not there");
  const { keyId, sealedKey } = found;
  const sealed = { keyId, ciphertext: Buffer.from(sealedKey, "base64") };
  return new Secret(sealer.open(owner, context, sealed).toString());
}
