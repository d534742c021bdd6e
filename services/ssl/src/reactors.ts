/** Facts of sites become work here; job ids come from the cause, so twice is once. */
import { command, reactor } from "@chom/shared/reactor/reactor";
import { certificate } from "./certificate.ts";
import type { IssueCertificate } from "./issue-certificate.ts";
import { siteEvents } from "./site-facts.ts";

/** New sites that want TLS get a certificate; removed sites lose theirs. */
export const secureSites = (issue: IssueCertificate) =>
  reactor({
    name: "sites",
    aggregate: "site",
    from: siteEvents,
    on: {
      SiteProvisioned: ({ siteId, domain, serverId, sslEnabled }) =>
        sslEnabled ? issue.dispatch({ siteId, domain, serverId }) : [],
      SiteDeprovisioned: ({ siteId }, { tenant }) =>
        command(certificate, tenant, siteId, "drop", { siteId }),
    },
  });
