/** Requests that were cut off between claiming a domain and queueing the job: found after a while and taken back. */
import { and, eq, lt } from "drizzle-orm";
import type { App, Tick } from "@chom/shared/service/app";
import { journalSubject } from "@chom/shared/topology/subjects";
import { type DomainClaims, domainClaims } from "./domain-claims.ts";
import { site } from "./site.ts";
import { domains, sites } from "./tables.ts";

/** Longer than any caller repeats a call that was not answered. */
const patienceMs = 15 * 60_000;

async function releaseUnused(app: App, claims: DomainClaims, before: Date): Promise<void> {
  const old = await app.db.select().from(domains).where(lt(domains.claimedAt, before)).limit(500);
  for (const claim of old) {
    const { state } = await app.load(site, claim.ownerTenant, claim.siteId);
    if (state.status !== "absent") continue;
    await claims.release(claim, { actor: app.name, causationId: claim.siteId });
  }
}

async function endUnqueued(app: App, before: Date): Promise<void> {
  const creating = await app.db
    .select()
    .from(sites)
    .where(and(eq(sites.status, "creating"), lt(sites.createdAt, before)))
    .limit(500);
  for (const { tenant, siteId, jobId } of creating) {
    if (await app.log.last("JOURNAL", journalSubject(tenant, app.name, jobId))) continue;
    await app.handle(
      site,
      siteId,
      "giveUp",
      { siteId, jobId },
      {
        tenant,
        actor: app.name,
        eventSeed: `sweep-${jobId}`,
      },
    );
  }
}

/** Every five minutes; safe to run twice. */
export const sweepCutRequests = (app: App): Tick => ({
  name: "cut-requests",
  everyMs: 5 * 60_000,
  async run() {
    const before = new Date(app.now().getTime() - patienceMs);
    await releaseUnused(app, domainClaims(app), before);
    await endUnqueued(app, before);
  },
});
