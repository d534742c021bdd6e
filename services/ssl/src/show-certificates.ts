/** What the certificate service shows of certificates: how many there are, and what is left of their lives. */
import type { App } from "@chom/shared/service/app";
import { gauge, sharedReading } from "@chom/shared/telemetry/metrics";
import { and, count, isNotNull, ne } from "drizzle-orm";
import { certificates } from "./tables.ts";

type Parts = Pick<App, "db" | "now">;
type Life = { readonly notBefore: Date | null; readonly notAfter: Date | null };

const maxAgeMs = 60_000;
/** Renewal begins at a third and is overdue at this part of what is left. */
const overdueRatio = 0.25;

/** What is left of a certificate's life, 0 to 1. */
export function lifeLeft({ notBefore, notAfter }: Life, now: Date): number {
  if (!notBefore || !notAfter) return 1;
  const wholeMs = notAfter.getTime() - notBefore.getTime();
  const leftMs = notAfter.getTime() - now.getTime();
  return wholeMs <= 0 ? 0 : Math.min(1, Math.max(0, leftMs / wholeMs));
}

async function look({ db, now }: Parts) {
  const statuses = await db
    .select({ status: certificates.status, value: count() })
    .from(certificates)
    .groupBy(certificates.status);
  const issued = await db
    .select({ notBefore: certificates.notBefore, notAfter: certificates.notAfter })
    .from(certificates)
    .where(and(ne(certificates.serial, ""), isNotNull(certificates.notAfter)));
  const lives = issued.map((life) => lifeLeft(life, now()));
  return {
    statuses,
    overdue: lives.filter((life) => life < overdueRatio).length,
    least: lives.reduce((least, life) => Math.min(least, life), 1),
  };
}

/** Declares the gauges. */
export function showCertificates(parts: Parts): void {
  const found = sharedReading(maxAgeMs, () => look(parts));
  gauge("chom_certificates", async () =>
    (await found()).statuses.map(({ status, value }) => ({ value, labels: { status } })),
  );
  gauge("chom_certificates_overdue", async () => [{ value: (await found()).overdue, labels: {} }]);
  gauge("chom_certificate_life_ratio", async () => [{ value: (await found()).least, labels: {} }]);
}
