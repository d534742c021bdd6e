/** What backups need to know of a site. A read-only fold of another service's facts. */
import { SiteDeprovisioned, SiteProvisioned } from "@chom/proto/chom/provisioning/v1/events";
import { aggregate, type Evolve } from "@chom/shared/aggregate/aggregate";
import { eventTypes } from "@chom/shared/aggregate/event-types";

const siteEvents = eventTypes({ SiteProvisioned, SiteDeprovisioned });

export type SiteFacts = {
  readonly status: "absent" | "provisioned" | "removed";
  readonly site: SiteProvisioned | undefined;
};

const evolve: Evolve<SiteFacts, typeof siteEvents> = {
  SiteProvisioned: (_, site) => ({ status: "provisioned", site }),
  SiteDeprovisioned: (facts) => ({ ...facts, status: "removed" }),
};

export const siteFacts = aggregate({
  name: "site",
  events: siteEvents,
  initial: (): SiteFacts => ({ status: "absent", site: undefined }),
  evolve,
  commands: {},
});
