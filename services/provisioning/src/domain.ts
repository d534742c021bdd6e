/** A domain name: claimed by one site of one tenant, then released. One aggregate per name, over all tenants. */
import { DomainClaimed, DomainReleased } from "@chom/proto/chom/provisioning/v1/events";
import { aggregate, type Evolve } from "@chom/shared/aggregate/aggregate";
import { eventTypes } from "@chom/shared/aggregate/event-types";
import { hashId } from "@chom/shared/aggregate/id";
import { rejected } from "@chom/shared/failure/failure";

/** Domains belong to no tenant's log: who is first is decided over all of them. */
export const domainTenant = "platform";

/** Id of a domain's aggregate. */
export const domainId = (domain: string): string => hashId(domain);

/** What can happen to a domain. */
export const domainEvents = eventTypes({ DomainClaimed, DomainReleased });

type Domain = { readonly ownerTenant: string; readonly siteId: string };

const evolve: Evolve<Domain, typeof domainEvents> = {
  DomainClaimed: (_, { ownerTenant, siteId }) => ({ ownerTenant, siteId }),
  DomainReleased: () => initial(),
};

const initial = (): Domain => ({ ownerTenant: "", siteId: "" });

const isOwner = (domain: Domain, { ownerTenant, siteId }: Domain): boolean =>
  domain.ownerTenant === ownerTenant && domain.siteId === siteId;

const commands = {
  /** Failure `name-taken` when any other site holds it; whose it is stays unsaid. */
  claim(domain: Domain, input: DomainClaimed) {
    if (domain.siteId === "") return domainEvents.DomainClaimed(input);
    if (isOwner(domain, input)) return [];
    throw rejected("name-taken", `${input.domain} belongs to another site`);
  },
  /** Only the owner lets go; anyone else's release changes nothing. */
  release: (domain: Domain, input: DomainReleased) =>
    isOwner(domain, input) ? domainEvents.DomainReleased(input) : [],
};

/** Domain: the guard against two sites of one name. */
export const domain = aggregate({
  name: "domain",
  events: domainEvents,
  initial,
  evolve,
  commands,
});
