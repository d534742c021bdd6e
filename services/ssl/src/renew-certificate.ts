/** `certificate.renew`: the next certificate of a site, when the CA or its lifetime says that it is time. */
import { RenewCertificateInput } from "@chom/proto/chom/ssl/v1/events";
import { job } from "@chom/shared/job/job";
import { certificate } from "./certificate.ts";
import { orderLimits } from "./order-limits.ts";
import { obtainCertificate, type Outside } from "./obtain-certificate.ts";
import { isOvertaken, renewalDay } from "./renewal-policy.ts";

/** Skips when another job renewed it already or, unless forced, when it is not due. */
export const renewCertificate = (outside: Outside) =>
  job(certificate, {
    name: "certificate.renew",
    input: RenewCertificateInput,
    of: ({ siteId }) => siteId,
    site: ({ siteId }) => siteId,
    server: ({ serverId }) => serverId,
    done: "renew",
    failed: "fail",
    cancelled: "abandon",
    deferred: "defer",
    skipped: "pass",
    queue: "default",
    tries: 3,
    timeoutMs: 120_000,
    // The CA's advice: a minute, ten, a hundred, then daily; the sweep asks again the next day.
    backoffMs: [60_000, 600_000, 6_000_000],
    exclusive: ({ siteId }) => [`site.${siteId}`],
    circuit: ({ serverId }) => serverId,
    rateLimit: orderLimits,

    async work({ siteId, serial, force }, run) {
      const site = await outside.siteOf(run.tenant, siteId);
      if (site.status !== "provisioned") return run.skip("the site is not there");
      const current = await outside.certificateOf(run.tenant, siteId);
      if (current.serial !== serial) return run.skip("it was renewed meanwhile");
      const now = run.now();
      const dueAt = current.renewAt ?? now;
      if (!force && dueAt > now) return run.skip(`it is due on ${dueAt.toISOString()}`);
      const renewable = { tenant: run.tenant, siteId, serial };
      if (isOvertaken(run.id, renewable, renewalDay(dueAt, now))) {
        return run.skip("the renewal of a later day took over");
      }
      return obtainCertificate(
        outside,
        { site, replaces: current.ariId, waitingSince: dueAt },
        run,
      );
    },
  });

export type RenewCertificate = ReturnType<typeof renewCertificate>;
