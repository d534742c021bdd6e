/** Keeps one caller from flooding the signer, and tells of denials without becoming a flood itself. */
import { isId } from "@chom/shared/aggregate/id";
import { type Failure, failureOf, transient } from "@chom/shared/failure/failure";
import type { App } from "@chom/shared/service/app";
import { int } from "@chom/shared/service/settings";
import { count as counted } from "@chom/shared/telemetry/metrics";
import { windowCount } from "./rate-cap.ts";
import type { JobClaim } from "./running-job.ts";

/** Requests a minute. Far above what jobs need, far below what a thief of one worker would want. */
export type SignerLimits = {
  readonly perJob: number;
  readonly perServer: number;
  readonly perService: number;
  /** Different servers that one service may ask for. */
  readonly servers: number;
  /** Refusals after which a service is not listened to for the rest of the minute. */
  readonly refusals: number;
};

const cap = (variable: string, fallback: number) =>
  int(variable, { min: 1, max: 1_000_000, fallback });

/** Settings of the caps; a process of its own counts for each replica. */
export const signerLimits = {
  perJob: cap("CHOM_SIGNER_PER_JOB", 60),
  perServer: cap("CHOM_SIGNER_PER_SERVER", 300),
  perService: cap("CHOM_SIGNER_PER_SERVICE", 3_000),
  servers: cap("CHOM_SIGNER_SERVERS", 1_000),
  refusals: cap("CHOM_SIGNER_REFUSALS", 60),
};

export type SignerGuard = {
  /** Failure `too-many-requests` beyond a cap, `signer-refused` when the claim holds no ids. */
  admit(service: string, claim: JobClaim): void;
  /** Somebody asked for what is not theirs. */
  refused(service: string, claim: JobClaim, failure: Failure): void;
};

export type GuardParts = Pick<App, "audit" | "logger" | "name" | "now" | "newId"> & {
  /** Told how often a service was denied something of late: once a minute, and at 10, 100, 1000 and so on. */
  readonly report: (service: string, count: number) => void;
};

const minuteMs = 60_000;
/** A service that was denied nothing for so long begins anew. */
const reportedMs = 10 * minuteMs;

/** The guard of one process; counts are its own, so replicas allow as many times the caps. */
export function signerGuard(parts: GuardParts, limits: SignerLimits): SignerGuard {
  const count = () => windowCount({ windowMs: minuteMs });
  const [services, jobs, servers, spread, refusals] = [count(), count(), count(), count(), count()];
  const tell = teller(parts);

  function excess(service: string, { tenant, jobId, serverId }: JobClaim, at: number): string {
    if (services.add(service, at) > limits.perService) return "service";
    if (refusals.seen(service, at) >= limits.refusals) return "refused service";
    if (jobs.add(`${service} ${tenant} ${jobId}`, at) > limits.perJob) return "job";
    const asked = servers.add(`${service} ${tenant} ${serverId}`, at);
    if (asked > limits.perServer) return "server";
    return asked === 1 && spread.add(service, at) > limits.servers ? "servers" : "";
  }

  return {
    admit(service, claim) {
      const at = parts.now().getTime();
      // What is no id must not become a key that is kept.
      if (![claim.tenant, claim.jobId, claim.serverId].every(isId)) {
        throw failureOf("signer-refused", "tenant, job or server is no id");
      }
      const cap = excess(service, claim, at);
      if (cap === "") return;
      tell(service, claim, { code: "too-many-requests", reason: `more than the cap of a ${cap}` });
      throw transient("too-many-requests", `the signer is asked too often: the cap of a ${cap}`);
    },
    refused(service, claim, { code, message }) {
      refusals.add(service, parts.now().getTime());
      tell(service, claim, { code, reason: message });
    },
  };
}

type Denial = { readonly code: string; readonly reason: string };

/** Audit, log and report of denials: the first of a service in a minute at once, the rest as a number with the next. */
function teller(parts: GuardParts) {
  const told = new Map<string, { at: number; untold: number; total: number }>();
  return (service: string, { tenant, jobId, serverId, fence }: JobClaim, denial: Denial) => {
    counted("chom_signer_denials_total", { code: denial.code });
    const now = parts.now();
    const at = now.getTime();
    const last = told.get(service) ?? { at: -Infinity, untold: 0, total: 0 };
    const isOld = at - last.at >= reportedMs;
    const total = (isOld ? 0 : last.total) + 1;
    if (at - last.at < minuteMs) {
      told.set(service, { ...last, total, untold: last.untold + 1 });
      // A flood that ends within its minute must be known too.
      if (/^10+$/.test(String(total))) parts.report(service, total);
      return;
    }
    told.set(service, { at, untold: 0, total });
    const claimed = { tenant, jobId, serverId, fence };
    parts.logger.error({ service, ...claimed, ...denial, untold: last.untold }, "signer denied");
    // The claim's tenant is the caller's word alone, so it is no tenant's entry.
    parts.audit.note("platform", {
      ...{ id: parts.newId(), at: now.toISOString(), actor: service, service: parts.name },
      ...{ action: "key.sign", outcome: "refused", requestId: "", ...denial },
      resources: { ...claimed, ...(last.untold > 0 ? { untold: String(last.untold) } : {}) },
    });
    parts.report(service, total);
  };
}
