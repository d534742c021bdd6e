/** When a certificate is renewed: by the CA's advice (ARI), else at a fraction of its real lifetime. Pure. */
import { createHash } from "node:crypto";
import { hashId } from "@chom/shared/aggregate/id";
import type { RenewalWindow } from "./acme/ari.ts";

export type Lifetime = { readonly notBefore: Date; readonly notAfter: Date };

/** When to renew, and whose idea it was. */
export type RenewalPlan = { readonly renewAt: Date; readonly basis: "ari" | "lifetime" };

const shortLifeMs = 10 * 24 * 3_600_000;
const jitterShare = 1 / 50;
const latestShare = 5 / 6;

const lifeOf = ({ notBefore, notAfter }: Lifetime): number =>
  notAfter.getTime() - notBefore.getTime();
const at = (lifetime: Lifetime, share: number): Date =>
  new Date(Math.round(lifetime.notBefore.getTime() + lifeOf(lifetime) * share));

/**
 * Two thirds into the lifetime, half when it is shorter than 10 days, and up to a fiftieth of the lifetime earlier:
 * `random` (0 to 1, the same for a site each time) spreads the sites.
 */
export function renewalByLifetime(lifetime: Lifetime, random: number): Date {
  const share = lifeOf(lifetime) < shortLifeMs ? 1 / 2 : 2 / 3;
  return at(lifetime, share - jitterShare * random);
}

/**
 * A uniformly random instant of the CA's window (RFC 9773 section 4.2), given `random` from 0 to 1; never later than
 * five sixths into the lifetime, whatever the CA says. An instant in the past means: now. Without a window the
 * lifetime decides.
 */
export function planRenewal(
  lifetime: Lifetime,
  window: RenewalWindow | null,
  random: number,
): RenewalPlan {
  if (window === null) return { renewAt: renewalByLifetime(lifetime, random), basis: "lifetime" };
  const width = window.end.getTime() - window.start.getTime();
  const advised = window.start.getTime() + Math.floor(width * random);
  const latest = at(lifetime, latestShare).getTime();
  return { renewAt: new Date(Math.min(advised, latest)), basis: "ari" };
}

/** A number from 0 (inclusive) to 1 (exclusive), evenly spread and always the same for the same text. */
export const spreadOf = (text: string): number =>
  createHash("sha256").update(text).digest().readUInt32BE() / 2 ** 32;

const dayMs = 24 * 3_600_000;
const maxDays = 400;

/** How many days a renewal is overdue, from 0. */
export const renewalDay = (renewAt: Date, now: Date): number =>
  Math.max(0, Math.floor((now.getTime() - renewAt.getTime()) / dayMs));

export type Renewable = {
  readonly tenant: string;
  readonly siteId: string;
  readonly serial: string;
};

/**
 * The id of the renewal of one certificate: one job a day from the day it is due, so that a renewal that failed is
 * tried again daily and two sweeps never make two.
 */
export const renewalJobId = ({ tenant, siteId, serial }: Renewable, day: number): string =>
  hashId("renew", tenant, siteId, serial, day);

/** True for a job of the sweep of an earlier day: today's has taken over, so that jobs that wait do not pile up. */
export const isOvertaken = (jobId: string, renewable: Renewable, today: number): boolean =>
  Array.from({ length: Math.min(today, maxDays) }, (_, day) => today - 1 - day).some(
    (day) => renewalJobId(renewable, day) === jobId,
  );

const longestLookMs = dayMs;
const lookShare = 1 / 8;

/**
 * How long to wait before DNS is asked again: `baseMs` at first, then an eighth of the time waited so far, a day at most.
 */
export const nextLookMs = (baseMs: number, waitingSince: Date, now: Date): number =>
  Math.min(longestLookMs, Math.max(baseMs, (now.getTime() - waitingSince.getTime()) * lookShare));
