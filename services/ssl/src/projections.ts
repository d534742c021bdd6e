/** The list of certificates, folded into Postgres. */
import type { CertificateIssued } from "@chom/proto/chom/ssl/v1/events";
import type { Transaction } from "@chom/shared/projection/database";
import { type ProjectedMeta, projection } from "@chom/shared/projection/projection";
import { and, eq, sql } from "drizzle-orm";
import { certificateEvents } from "./certificate.ts";
import { certificates } from "./tables.ts";

const rowOf = ({ tenant, id }: ProjectedMeta) =>
  and(eq(certificates.tenant, tenant), eq(certificates.siteId, id));

/** A served certificate stays `active` whatever its renewal does. */
const unlessServed = (status: string) =>
  sql`case when ${certificates.serial} = '' then ${status} else 'active' end`;

const installed = (
  data: Pick<
    CertificateIssued,
    "domain" | "serverId" | "serial" | "issuer" | "ariId" | "notBefore" | "notAfter" | "renewAt"
  >,
  meta: ProjectedMeta,
  tx: Transaction,
) => {
  const { domain, serverId, serial, issuer, ariId, notBefore, notAfter, renewAt } = data;
  const row = { domain, serverId, serial, issuer, ariId, status: "active", reason: "" };
  const values = { ...row, notBefore, notAfter, renewAt };
  return tx
    .insert(certificates)
    .values({ tenant: meta.tenant, siteId: meta.id, createdAt: meta.time, ...values })
    .onConflictDoUpdate({ target: [certificates.tenant, certificates.siteId], set: values });
};

export const certificateList = projection({
  name: "certificate-list",
  source: { stream: "EVENTS", aggregate: "certificate" },
  rebuild: { tables: [certificates] },
  from: certificateEvents,
  on: {
    CertificateRequested: ({ domain, serverId }, meta, tx) =>
      tx
        .insert(certificates)
        .values({
          tenant: meta.tenant,
          siteId: meta.id,
          domain,
          serverId,
          status: "pending",
          createdAt: meta.time,
        })
        .onConflictDoUpdate({
          target: [certificates.tenant, certificates.siteId],
          set: { domain, serverId, status: unlessServed("pending"), reason: "" },
        }),
    CertificateIssueDeferred: ({ reason }, meta, tx) =>
      tx
        .update(certificates)
        .set({ status: unlessServed("deferred"), reason })
        .where(rowOf(meta)),
    CertificateIssued: installed,
    CertificateRenewed: installed,
    CertificateRenewalPlanned: ({ renewAt }, meta, tx) =>
      tx.update(certificates).set({ renewAt }).where(rowOf(meta)),
    CertificateFailed: ({ code, message }, meta, tx) =>
      tx
        .update(certificates)
        .set({ status: unlessServed("failed"), reason: `${code}: ${message}` })
        .where(rowOf(meta)),
    CertificateDropped: (_, meta, tx) => tx.delete(certificates).where(rowOf(meta)),
  },
});
