/** Passwords of sites: made once, kept sealed in this service's own schema, never in an event or a journal. */
import { and, eq } from "drizzle-orm";
import { randomInt } from "node:crypto";
import type { Database } from "@chom/shared/projection/database";
import type { Sealer } from "@chom/shared/secrets/sealer";
import { Secret } from "@chom/shared/secrets/secret";
import { siteSecrets } from "./tables.ts";

type SecretName = "database" | "administrator";

export type SiteSecrets = {
  /** The secret of this name; made when there is none yet. All callers get the same one. */
  ensure(tenant: string, siteId: string, name: SecretName): Promise<Secret>;
  find(tenant: string, siteId: string, name: SecretName): Promise<Secret | undefined>;
  /** Forgets all secrets of a site. */
  forget(tenant: string, siteId: string): Promise<void>;
};

// Letters and digits only: no configuration format, shell or SQL gives them another meaning.
const alphabet = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789";
/** 32 of 57 characters: 186 bits. */
const length = 32;

const newPassword = (): string =>
  Array.from({ length }, () => alphabet.charAt(randomInt(alphabet.length))).join("");

/** Secrets of sites in Postgres, sealed with the tenant's key and bound to site and name. */
export function siteSecretsIn({
  db,
  sealer,
  now,
}: {
  readonly db: Database;
  readonly sealer: Sealer;
  now(): Date;
}): SiteSecrets {
  const context = (siteId: string, name: string) => ["site-secret", siteId, name];
  const siteOf = (tenant: string, siteId: string) =>
    and(eq(siteSecrets.tenant, tenant), eq(siteSecrets.siteId, siteId));

  async function find(tenant: string, siteId: string, name: SecretName) {
    const [row] = await db
      .select()
      .from(siteSecrets)
      .where(and(siteOf(tenant, siteId), eq(siteSecrets.name, name)));
    if (!row) return undefined;
    await sealer.ready(tenant);
    return new Secret(sealer.open(tenant, context(siteId, name), row).toString("utf8"));
  }

  async function ensure(tenant: string, siteId: string, name: SecretName): Promise<Secret> {
    const known = await find(tenant, siteId, name);
    if (known) return known;
    const password = newPassword();
    await sealer.ready(tenant);
    const sealed = sealer.seal(tenant, context(siteId, name), Buffer.from(password));
    const made = await db
      .insert(siteSecrets)
      .values({ tenant, siteId, name, ...sealed, createdAt: now() })
      .onConflictDoNothing()
      .returning({ name: siteSecrets.name });
    if (made.length > 0) return new Secret(password);
    // Another worker was first: its password is the one.
    return ensure(tenant, siteId, name);
  }

  return {
    find,
    ensure,
    async forget(tenant, siteId) {
      await db.delete(siteSecrets).where(siteOf(tenant, siteId));
    },
  };
}
