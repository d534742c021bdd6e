/** A site: requested, provisioned or failed, sometimes restoring, in the end removed. */
import {
  type DeprovisionSiteInput,
  type ProvisionSiteInput,
  SiteDeprovisioned,
  SiteDeprovisioningFailed,
  SiteProvisioned,
  SiteProvisioningFailed,
  SiteRemovalStarted,
  SiteRequested,
  SiteRestoreEnded,
  SiteRestoring,
} from "@chom/proto/chom/provisioning/v1/events";
import { SiteKind } from "@chom/proto/chom/provisioning/v1/provisioning";
import { aggregate, type Evolve } from "@chom/shared/aggregate/aggregate";
import { eventTypes } from "@chom/shared/aggregate/event-types";
import { rejected } from "@chom/shared/failure/failure";
import type { Abandoned, Begun, Done, FailureReport } from "@chom/shared/job/job";

/** What can happen to a site. */
export const siteEvents = eventTypes({
  SiteRequested,
  SiteProvisioned,
  SiteProvisioningFailed,
  SiteRemovalStarted,
  SiteDeprovisioned,
  SiteDeprovisioningFailed,
  SiteRestoring,
  SiteRestoreEnded,
});

/** Where a site stands; `restoring` is told by `restoreId`, so that its end gives back what was before. */
type Site = {
  readonly status: "absent" | "creating" | "active" | "removing" | "removed" | "failed";
  readonly domain: string;
  readonly serverId: string;
  readonly kind: SiteKind;
  readonly phpVersion: string;
  readonly databaseName: string;
  /** As asked for. */
  readonly wantsDatabase: boolean;
  /** The job that the status comes from. */
  readonly jobId: string;
  readonly restoreId: string;
};

const evolve: Evolve<Site, typeof siteEvents> = {
  SiteRequested: (site, { domain, serverId, kind, phpVersion, database, jobId }) => ({
    ...site,
    status: "creating",
    domain,
    serverId,
    kind,
    phpVersion,
    wantsDatabase: database,
    jobId,
  }),
  SiteProvisioned: (site, { domain, serverId, kind, phpVersion, databaseName, jobId }) => ({
    ...site,
    status: "active",
    domain,
    serverId,
    kind,
    phpVersion,
    databaseName,
    jobId,
  }),
  SiteProvisioningFailed: (site, { jobId }) => ({ ...site, status: "failed", jobId }),
  SiteRemovalStarted: (site, { jobId }) => ({ ...site, status: "removing", jobId }),
  SiteDeprovisioned: (site, { jobId }) => ({ ...site, status: "removed", jobId, restoreId: "" }),
  SiteDeprovisioningFailed: (site, { jobId }) => ({ ...site, status: "failed", jobId }),
  SiteRestoring: (site, { restoreId }) => ({ ...site, restoreId }),
  SiteRestoreEnded: (site, { restoreId }) =>
    site.restoreId === restoreId ? { ...site, restoreId: "" } : site,
};

/** What `site.provision` found out and made. */
export type ProvisionedSite = {
  readonly phpVersion: string;
  readonly systemUser: string;
  readonly rootPath: string;
  readonly databaseName: string;
  readonly serverAddresses: readonly string[];
};

const says = (site: Site, status: Site["status"], jobId: string): boolean =>
  site.status === status && site.jobId === jobId;

const commands = {
  /** Once per site; the same request again is nothing new. */
  request(site: Site, input: SiteRequested) {
    if (site.status === "absent") return siteEvents.SiteRequested(input);
    if (site.jobId === input.jobId) return [];
    throw rejected("site-exists", "the site was requested before, by another job");
  },
  /** Work began: a failed site that an operator retries is being created again. */
  begin: (site: Site, { jobId, input }: Begun<ProvisionSiteInput>) =>
    site.status === "failed" || site.status === "absent"
      ? siteEvents.SiteRequested({ ...input, jobId })
      : [],
  complete: (site: Site, { jobId, input, result }: Done<ProvisionSiteInput, ProvisionedSite>) =>
    says(site, "active", jobId)
      ? []
      : siteEvents.SiteProvisioned({
          ...input,
          ...result,
          serverAddresses: [...result.serverAddresses],
          jobId,
        }),
  fail: (site: Site, report: FailureReport<ProvisionSiteInput>) =>
    failed(site, report, withUndo(report)),
  abandon: (site: Site, report: Abandoned<ProvisionSiteInput>) =>
    failed(site, report, { code: "cancelled", message: report.reason }),
  /** The request was recorded but its job never reached the queue; seen by the sweep. */
  giveUp: (site: Site, { siteId, jobId }: { readonly siteId: string; readonly jobId: string }) =>
    says(site, "creating", jobId)
      ? siteEvents.SiteProvisioningFailed({
          siteId,
          domain: site.domain,
          code: "never-queued",
          message: "the request was cut off before its job was queued; ask again",
          jobId,
        })
      : [],
  beginRemoval: (site: Site, { jobId, input }: Begun<DeprovisionSiteInput>) =>
    says(site, "removing", jobId) || site.status === "removed"
      ? []
      : siteEvents.SiteRemovalStarted({ siteId: input.siteId, jobId }),
  completeRemoval: (site: Site, { jobId, input }: Done<DeprovisionSiteInput, undefined>) =>
    site.status === "removed" ? [] : siteEvents.SiteDeprovisioned({ ...input, jobId }),
  failRemoval: (site: Site, report: FailureReport<DeprovisionSiteInput>) =>
    removalFailed(site, report, report),
  abandonRemoval: (site: Site, report: Abandoned<DeprovisionSiteInput>) =>
    removalFailed(site, report, { code: "cancelled", message: report.reason }),
  restoreBegan: (site: Site, input: SiteRestoring) =>
    site.status === "absent" || site.status === "removed" || site.restoreId === input.restoreId
      ? []
      : siteEvents.SiteRestoring(input),
  restoreEnded: (site: Site, input: SiteRestoreEnded) =>
    site.restoreId === input.restoreId ? siteEvents.SiteRestoreEnded(input) : [],
};

type Trouble = { readonly code: string; readonly message: string };

const withUndo = ({ code, message, undone }: FailureReport<unknown>): Trouble => ({
  code,
  message: undone ? message : `${message}; not everything could be taken back`,
});

const failed = (site: Site, job: Begun<ProvisionSiteInput>, { code, message }: Trouble) =>
  says(site, "failed", job.jobId) || says(site, "active", job.jobId)
    ? []
    : siteEvents.SiteProvisioningFailed({
        siteId: job.input.siteId,
        domain: job.input.domain,
        code,
        message,
        jobId: job.jobId,
      });

const removalFailed = (site: Site, job: Begun<DeprovisionSiteInput>, { code, message }: Trouble) =>
  says(site, "failed", job.jobId) || site.status === "removed"
    ? []
    : siteEvents.SiteDeprovisioningFailed({
        siteId: job.input.siteId,
        code,
        message,
        jobId: job.jobId,
      });

const initial = (): Site => ({
  status: "absent",
  domain: "",
  serverId: "",
  kind: SiteKind.UNSPECIFIED,
  phpVersion: "",
  databaseName: "",
  wantsDatabase: false,
  jobId: "",
  restoreId: "",
});

/** Site, with the total commands that the outcomes of its jobs become. */
export const site = aggregate({ name: "site", events: siteEvents, initial, evolve, commands });
