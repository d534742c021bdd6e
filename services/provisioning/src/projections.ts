/** Read models: the list of sites, and the domains that are claimed. */
import { and, eq } from "drizzle-orm";
import type { EventMeta } from "@chom/shared/aggregate/aggregate";
import type { Transaction } from "@chom/shared/projection/database";
import { projection } from "@chom/shared/projection/projection";
import { domainEvents } from "./domain.ts";
import { siteEvents } from "./site.ts";
import { domains, sites } from "./tables.ts";

type Change = Partial<typeof sites.$inferInsert>;

const change = (values: Change, { id, tenant }: EventMeta, tx: Transaction) =>
  tx
    .update(sites)
    .set(values)
    .where(and(eq(sites.siteId, id), eq(sites.tenant, tenant)));

const noFailure = { failureCode: "", failureMessage: "" };

/** One row per site. */
export const siteList = projection({
  name: "sites",
  source: { stream: "EVENTS", aggregate: "site" },
  rebuild: { tables: [sites] },
  from: siteEvents,
  on: {
    SiteRequested({ domain, serverId, kind, phpVersion, sslEnabled, jobId }, meta, tx) {
      const asked = { domain, serverId, kind, phpVersion, sslEnabled, jobId, status: "creating" };
      return tx
        .insert(sites)
        .values({ ...asked, siteId: meta.id, tenant: meta.tenant, createdAt: meta.time })
        .onConflictDoUpdate({ target: sites.siteId, set: { ...asked, ...noFailure } });
    },
    SiteProvisioned(data, meta, tx) {
      const { phpVersion, systemUser, rootPath, databaseName, sslEnabled, jobId } = data;
      const made = { phpVersion, systemUser, rootPath, databaseName, sslEnabled, jobId };
      const now = { ...made, ...noFailure, status: "active", provisionedAt: meta.time };
      return change(now, meta, tx);
    },
    SiteProvisioningFailed: ({ code, message }, meta, tx) =>
      change({ status: "failed", failureCode: code, failureMessage: message }, meta, tx),
    SiteRemovalStarted: ({ jobId }, meta, tx) => change({ status: "removing", jobId }, meta, tx),
    SiteDeprovisioned: (_, meta, tx) =>
      change({ status: "removed", restoreId: "", ...noFailure }, meta, tx),
    SiteDeprovisioningFailed: ({ code, message }, meta, tx) =>
      change({ status: "failed", failureCode: code, failureMessage: message }, meta, tx),
    SiteRestoring: ({ restoreId }, meta, tx) => change({ restoreId }, meta, tx),
    SiteRestoreEnded: ({ restoreId }, { id }, tx) =>
      tx
        .update(sites)
        .set({ restoreId: "" })
        .where(and(eq(sites.siteId, id), eq(sites.restoreId, restoreId))),
  },
});

/** One row per claimed domain. */
export const claimedDomains = projection({
  name: "domains",
  source: { stream: "EVENTS", aggregate: "domain" },
  rebuild: { tables: [domains] },
  from: domainEvents,
  on: {
    DomainClaimed({ domain, ownerTenant, siteId }, { time }, tx) {
      const claim = { ownerTenant, siteId, claimedAt: time };
      return tx
        .insert(domains)
        .values({ domain, ...claim })
        .onConflictDoUpdate({ target: domains.domain, set: claim });
    },
    DomainReleased: ({ domain }, _, tx) => tx.delete(domains).where(eq(domains.domain, domain)),
  },
});
