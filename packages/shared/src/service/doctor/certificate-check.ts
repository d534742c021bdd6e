/** How long the service's own certificate is good for. */
import { X509Certificate } from "node:crypto";
import type { DoctorCheck } from "./check.ts";

const dayMs = 86_400_000;

/** Warns when a third of its life is left, or two weeks, whichever is less; critical at a tenth, or two days. */
export const certificateCheck = (pem: Buffer | undefined, now: () => Date): DoctorCheck => ({
  name: "certificate-expiry",
  async run() {
    if (!pem) return [];
    const { validFrom, validTo, subject } = new X509Certificate(pem);
    const until = new Date(validTo).getTime();
    const life = until - new Date(validFrom).getTime();
    const left = until - now().getTime();
    if (left > Math.min(life / 3, 14 * dayMs)) return [];
    const isUrgent = left < Math.min(life / 10, 2 * dayMs);
    return [
      {
        subject: subject.replaceAll("\n", " "),
        severity: isUrgent ? "critical" : "warning",
        message:
          left <= 0
            ? `its certificate expired at ${validTo}: nobody can call it`
            : `its certificate expires at ${validTo}`,
        remedy:
          "issue a new one into CHOM_TLS_CERT_FILE and CHOM_TLS_KEY_FILE and restart the service",
      },
    ];
  },
});
