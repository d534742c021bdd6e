/** What certificates need to know of a site. A read-only fold of another service's facts. */
import { SiteDeprovisioned, SiteProvisioned } from "@chom/proto/chom/provisioning/v1/events";
import { aggregate, type Evolve } from "@chom/shared/aggregate/aggregate";
import { eventTypes } from "@chom/shared/aggregate/event-types";

export const siteEvents = eventTypes({ SiteProvisioned, SiteDeprovisioned });

export type SiteFacts = {
  readonly status: "absent" | "provisioned" | "removed";
  readonly domain: string;
  readonly serverId: string;
  readonly systemUser: string;
  /** Where visitors reach the server. */
  readonly addresses: readonly string[];
};

const initial = (): SiteFacts => ({
  status: "absent",
  domain: "",
  serverId: "",
  systemUser: "",
  addresses: [],
});

const evolve: Evolve<SiteFacts, typeof siteEvents> = {
  SiteProvisioned: (_, { domain, serverId, systemUser, serverAddresses }) => ({
    status: "provisioned",
    domain,
    serverId,
    systemUser,
    addresses: serverAddresses,
  }),
  SiteDeprovisioned: (site) => ({ ...site, status: "removed" }),
};

/** Facts of one site, folded from its own events at request time. */
export const siteFacts = aggregate({
  name: "site",
  events: siteEvents,
  initial,
  evolve,
  commands: {},
});
