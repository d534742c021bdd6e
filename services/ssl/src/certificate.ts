/** The certificate of one site: requested, perhaps deferred, issued, renewed for as long as the site lives, then dropped. */
import {
  CertificateDropped,
  CertificateFailed,
  CertificateIssueDeferred,
  CertificateIssued,
  CertificateRenewalPlanned,
  CertificateRenewed,
  CertificateRequested,
  type IssueCertificateInput,
  type RenewCertificateInput,
} from "@chom/proto/chom/ssl/v1/events";
import { aggregate, type Evolve } from "@chom/shared/aggregate/aggregate";
import { eventTypes } from "@chom/shared/aggregate/event-types";
import type { Abandoned, Begun, Done, FailureReport, Postponed } from "@chom/shared/job/job";

export const certificateEvents = eventTypes({
  CertificateRequested,
  CertificateIssueDeferred,
  CertificateIssued,
  CertificateRenewed,
  CertificateRenewalPlanned,
  CertificateFailed,
  CertificateDropped,
});
const happened = certificateEvents;

type Certificate = {
  /** A site whose renewal waits or fails stays `active`: its certificate is still served. */
  readonly status: "absent" | "pending" | "deferred" | "active" | "failed" | "dropped";
  /** The job that asked last. */
  readonly jobId: string;
  readonly domain: string;
  readonly serverId: string;
  /** Empty until one was issued. */
  readonly serial: string;
  readonly ariId: string;
  readonly notAfter: Date | undefined;
  readonly renewAt: Date | undefined;
  readonly requestedAt: Date | undefined;
  /** Why it waits; "" when it does not. */
  readonly waitingFor: string;
};

/** What was installed; read from the certificate itself. */
export type InstalledCertificate = {
  readonly serial: string;
  readonly issuer: string;
  readonly notBefore: Date;
  readonly notAfter: Date;
  readonly renewAt: Date;
  readonly names: readonly string[];
  readonly ariId: string;
  readonly fingerprint: string;
};

const initial = (): Certificate => ({
  status: "absent",
  jobId: "",
  domain: "",
  serverId: "",
  serial: "",
  ariId: "",
  notAfter: undefined,
  renewAt: undefined,
  requestedAt: undefined,
  waitingFor: "",
});

const unlessServed = (state: Certificate, status: Certificate["status"]): Certificate["status"] =>
  state.serial === "" ? status : "active";

const installed = (
  state: Certificate,
  data: Pick<
    CertificateIssued,
    "domain" | "serverId" | "serial" | "ariId" | "notAfter" | "renewAt"
  >,
): Certificate => {
  const { domain, serverId, serial, ariId, notAfter, renewAt } = data;
  const current = { domain, serverId, serial, ariId, notAfter, renewAt };
  return { ...state, ...current, status: "active", waitingFor: "" };
};

const evolve: Evolve<Certificate, typeof happened> = {
  CertificateRequested: (state, { domain, serverId, jobId }, { time }) => ({
    ...state,
    status: unlessServed(state, "pending"),
    domain,
    serverId,
    jobId,
    requestedAt: time,
    waitingFor: "",
  }),
  CertificateIssueDeferred: (state, { reason }) => ({
    ...state,
    status: unlessServed(state, "deferred"),
    waitingFor: reason,
  }),
  CertificateIssued: installed,
  CertificateRenewed: installed,
  CertificateRenewalPlanned: (state, { renewAt }) => ({ ...state, renewAt }),
  CertificateFailed: (state) => ({
    ...state,
    status: unlessServed(state, "failed"),
    waitingFor: "",
  }),
  CertificateDropped: () => ({ ...initial(), status: "dropped" }),
};

type Named = { readonly siteId: string; readonly domain: string };
const isGone = ({ status }: Certificate): boolean => status === "dropped";
const failed = (
  { input: { siteId, domain }, jobId }: Begun<Named>,
  code: string,
  message: string,
) => happened.CertificateFailed({ siteId, domain, jobId, code, message });
/** A job that ended without a certificate leaves nothing pending behind. */
const endWithout = (state: Certificate, facts: Begun<Named>, code: string, reason: string) =>
  state.serial === "" && !isGone(state) ? failed(facts, code, reason) : [];

const commands = {
  begin: (state: Certificate, { input, jobId }: Begun<IssueCertificateInput>) =>
    isGone(state) || state.jobId === jobId
      ? []
      : happened.CertificateRequested({ ...input, jobId }),
  issue: (
    state: Certificate,
    { input, jobId, result }: Done<IssueCertificateInput, InstalledCertificate>,
  ) =>
    isGone(state) || state.serial === result.serial
      ? []
      : happened.CertificateIssued({ ...input, ...result, names: [...result.names], jobId }),
  renew: (
    state: Certificate,
    { input, jobId, result }: Done<RenewCertificateInput, InstalledCertificate>,
  ) => {
    if (isGone(state) || state.serial === result.serial) return [];
    const { siteId, domain, serverId } = input;
    return happened.CertificateRenewed({
      siteId,
      domain,
      serverId,
      ...result,
      names: [...result.names],
      previousSerial: state.serial,
      jobId,
    });
  },
  defer: (state: Certificate, { input, jobId, code, reason, until }: Postponed<Named>) => {
    const { siteId, domain } = input;
    // Told once per reason: a name that points elsewhere for months is one fact, not thousands.
    return isGone(state) || state.waitingFor === reason
      ? []
      : happened.CertificateIssueDeferred({ siteId, domain, code, reason, until, jobId });
  },
  fail: (state: Certificate, report: FailureReport<Named>) =>
    isGone(state) ? [] : failed(report, report.code, report.message),
  abandon: (state: Certificate, facts: Abandoned<Named>) =>
    endWithout(state, facts, "cancelled", facts.reason),
  pass: (state: Certificate, facts: Abandoned<Named>) =>
    endWithout(state, facts, "skipped", facts.reason),
  plan: (
    state: Certificate,
    { siteId, renewAt, basis }: { siteId: string; renewAt: Date; basis: string },
  ) =>
    state.status !== "active" || state.renewAt?.getTime() === renewAt.getTime()
      ? []
      : happened.CertificateRenewalPlanned({ siteId, renewAt, basis }),
  drop: (state: Certificate, { siteId }: { siteId: string }) =>
    isGone(state) || state.status === "absent" ? [] : happened.CertificateDropped({ siteId }),
};

/** One per site; its id is the site's. */
export const certificate = aggregate({
  name: "certificate",
  events: happened,
  initial,
  evolve,
  commands,
});
