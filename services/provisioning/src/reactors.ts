/** Facts that change sites and domains: restores of the backup service, and the end of a site. */
import {
  RestoreCompleted,
  RestoreFailed,
  RestoreRolledBack,
  RestoreStarted,
} from "@chom/proto/chom/backup/v1/events";
import type { EventMeta } from "@chom/shared/aggregate/aggregate";
import { eventTypes } from "@chom/shared/aggregate/event-types";
import { command, reactor } from "@chom/shared/reactor/reactor";
import { domain, domainId, domainTenant } from "./domain.ts";
import { site, siteEvents } from "./site.ts";

type Restore = { readonly siteId: string; readonly restoreId: string };

const restoreEnded = ({ siteId, restoreId }: Restore, { tenant }: EventMeta) =>
  command(site, tenant, siteId, "restoreEnded", { siteId, restoreId });

/** A site is `restoring` from the start of a restore to whatever end it has. */
export const followRestores = reactor({
  name: "restores",
  aggregate: "backups",
  from: eventTypes({ RestoreStarted, RestoreCompleted, RestoreRolledBack, RestoreFailed }),
  on: {
    RestoreStarted: ({ siteId, restoreId }, { tenant }) =>
      command(site, tenant, siteId, "restoreBegan", { siteId, restoreId }),
    RestoreCompleted: restoreEnded,
    RestoreRolledBack: restoreEnded,
    RestoreFailed: restoreEnded,
  },
});

const release = (data: { domain: string; siteId: string }, { tenant }: EventMeta) =>
  command(domain, domainTenant, domainId(data.domain), "release", {
    domain: data.domain,
    siteId: data.siteId,
    ownerTenant: tenant,
  });

/** A site that never came to be, or is gone, lets go of its domain. */
export const releaseDomains = reactor({
  name: "domains",
  aggregate: "site",
  from: siteEvents,
  on: { SiteProvisioningFailed: release, SiteDeprovisioned: release },
});
