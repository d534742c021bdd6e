/** Whose facts begin our jobs: a restored site may have come back with what was in its backup. */
import { RestoreCompleted } from "@chom/proto/chom/backup/v1/events";
import { eventTypes } from "@chom/shared/aggregate/event-types";
import { reactor } from "@chom/shared/reactor/reactor";
import type { ScanSiteInput } from "./gen/chom/scan/v1/events.ts";
import { scanSite } from "./scan-site.ts";

/** Where a site is; provisioning's events say it. */
export type SiteOf = (tenant: string, siteId: string) => Promise<Omit<ScanSiteInput, "siteId">>;

export const scanRestoredSites = (siteOf: SiteOf) =>
  reactor({
    name: "restores",
    aggregate: "backups",
    from: eventTypes({ RestoreCompleted }),
    on: {
      RestoreCompleted: async ({ siteId }, { tenant }) =>
        scanSite.dispatch({ siteId, ...(await siteOf(tenant, siteId)) }),
    },
  });
