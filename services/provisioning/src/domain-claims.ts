/** Holding and releasing domain names, over all tenants. */
import type { App } from "@chom/shared/service/app";
import { domain, domainId, domainTenant } from "./domain.ts";

type Claim = {
  readonly domain: string;
  readonly ownerTenant: string;
  readonly siteId: string;
};
type ClaimCause = { readonly actor: string; readonly causationId: string };

export type DomainClaims = {
  /** Makes the domain the site's, or finds that it is; Failure `name-taken` when another site has it. True: just claimed. */
  hold(claim: Claim, cause: ClaimCause): Promise<boolean>;
  /** Lets it go; nothing happens when another site has it by now. */
  release(claim: Claim, cause: ClaimCause): Promise<void>;
};

export function domainClaims(app: Pick<App, "handle" | "newId">): DomainClaims {
  const run = (command: "claim" | "release", claim: Claim, cause: ClaimCause) =>
    // The seed is new each time: a name may be claimed, released and claimed again for the same site.
    app.handle(domain, domainId(claim.domain), command, claim, {
      tenant: domainTenant,
      actor: cause.actor,
      causationId: cause.causationId,
      eventSeed: app.newId(),
    });
  return {
    hold: async (claim, cause) => (await run("claim", claim, cause)).decided > 0,
    async release(claim, cause) {
      await run("release", claim, cause);
    },
  };
}
