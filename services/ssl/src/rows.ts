/** Rows of the read model as callers see them. */
import { type Certificate, CertificateStatus } from "@chom/proto/chom/ssl/v1/ssl";
import type { certificates } from "./tables.ts";

const statuses: Readonly<Record<string, Certificate["status"]>> = {
  pending: CertificateStatus.PENDING,
  deferred: CertificateStatus.DEFERRED,
  active: CertificateStatus.ACTIVE,
  failed: CertificateStatus.FAILED,
};

type Row = typeof certificates.$inferSelect;

export const messageOf = (row: Row): Certificate => ({
  siteId: row.siteId,
  domain: row.domain,
  status: statuses[row.status] ?? CertificateStatus.UNSPECIFIED,
  serial: row.serial,
  issuer: row.issuer,
  notBefore: row.notBefore ?? undefined,
  notAfter: row.notAfter ?? undefined,
  renewAt: row.renewAt ?? undefined,
  reason: row.reason,
  serverId: row.serverId,
});
