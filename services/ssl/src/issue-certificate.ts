/** `certificate.issue`: the first certificate of a site, as soon as its name points to its server. */
import { IssueCertificateInput } from "@chom/proto/chom/ssl/v1/events";
import { job } from "@chom/shared/job/job";
import { certificate } from "./certificate.ts";
import { orderLimits } from "./order-limits.ts";
import { obtainCertificate, type Outside } from "./obtain-certificate.ts";

/** Defers while DNS does not point here; skips when a certificate is served already. */
export const issueCertificate = (outside: Outside) =>
  job(certificate, {
    name: "certificate.issue",
    input: IssueCertificateInput,
    of: ({ siteId }) => siteId,
    site: ({ siteId }) => siteId,
    server: ({ serverId }) => serverId,
    started: "begin",
    done: "issue",
    failed: "fail",
    cancelled: "abandon",
    deferred: "defer",
    skipped: "pass",
    queue: "default",
    tries: 3,
    timeoutMs: 120_000,
    backoffMs: [120_000, 600_000],
    exclusive: ({ siteId }) => [`site.${siteId}`],
    circuit: ({ serverId }) => serverId,
    rateLimit: orderLimits,

    async work({ siteId }, run) {
      const site = await outside.siteOf(run.tenant, siteId);
      if (site.status !== "provisioned") return run.skip("the site is not there");
      const { status, notAfter, requestedAt } = await outside.certificateOf(run.tenant, siteId);
      if (status === "active" && notAfter && notAfter > run.now()) {
        return run.skip(`its certificate is good until ${notAfter.toISOString()}`);
      }
      const waitingSince = requestedAt ?? run.now();
      return obtainCertificate(outside, { site, replaces: "", waitingSince }, run);
    },
  });

export type IssueCertificate = ReturnType<typeof issueCertificate>;
