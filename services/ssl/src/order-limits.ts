/** What of the CA's rates an order takes, over all processes and tenants: the CA counts so too. */
import type { WantedLimit } from "@chom/shared/limit/limits";
import { getDomain } from "tldts";

/** The name that its owner registered: `shop.example.co.uk` → `example.co.uk`; a name that has none is its own. */
export const registeredDomain = (domain: string): string =>
  getDomain(domain, { allowPrivateDomains: true }) ?? domain;

/** One order of the domain and one of the account; given back when the job skips or defers. */
export const orderLimits = ({ domain }: { domain: string }): readonly WantedLimit[] => [
  { name: "acme-orders", key: registeredDomain(domain) },
  { name: "acme-account", key: "all" },
];
