/** How often a caller, and all callers of a tenant together, may call; and how many streams they may keep open. */
import { transient } from "../failure/failure.ts";
import type { Identity } from "./unary.ts";

export type CallLimits = {
  /** Calls a second of one caller (a token's subject, or a service), 1 to 100,000; five seconds of it at once. */
  readonly perCaller: number;
  /** The same of all callers of one tenant together. */
  readonly perTenant: number;
  /** Streams that one caller may have open on this process. */
  readonly streamsPerCaller: number;
};

export const defaultCallLimits: CallLimits = {
  perCaller: 200,
  perTenant: 1_000,
  streamsPerCaller: 32,
};

export type CallRates = {
  /** Counts a call. Throws `too-many-requests` with the time to wait when there were too many. */
  admit(who: Identity, nowMs: number): void;
  /** Counts a stream until the answer is called. Throws `too-many-requests`. */
  openStream(who: Identity): () => void;
};

type Bucket = { tokens: number; atMs: number };

const burstSeconds = 5;
/** More names than this are not remembered at once: those that are full again are forgotten first. */
const bucketsMax = 10_000;

/** A bucket for each name that holds `burstSeconds` of `perSecond`. */
function buckets(perSecond: number) {
  const known = new Map<string, Bucket>();
  const full = perSecond * burstSeconds;
  const filled = ({ tokens, atMs }: Bucket, nowMs: number) =>
    Math.min(full, tokens + (Math.max(0, nowMs - atMs) * perSecond) / 1_000);
  const forget = (nowMs: number) => {
    for (const [name, bucket] of known) if (filled(bucket, nowMs) >= full) known.delete(name);
    // All of them busy: the one that was heard of first starts anew.
    const [oldest] = known.size >= bucketsMax ? known.keys() : [];
    if (oldest !== undefined) known.delete(oldest);
  };
  return {
    /** Milliseconds to wait; 0 when one may be taken now. */
    wait(name: string, nowMs: number): number {
      const bucket = known.get(name);
      const tokens = bucket ? filled(bucket, nowMs) : full;
      return tokens >= 1 ? 0 : Math.ceil(((1 - tokens) * 1_000) / perSecond);
    },
    take(name: string, nowMs: number): void {
      const bucket = known.get(name);
      if (!bucket && known.size >= bucketsMax) forget(nowMs);
      const tokens = bucket ? filled(bucket, nowMs) : full;
      known.set(name, { tokens: tokens - 1, atMs: nowMs });
    },
  };
}

const callerOf = ({ service, tenant, actor }: Identity): string =>
  service === undefined ? `${tenant}/${actor}` : `service/${service}/${tenant}/${actor}`;

/** Keeps the counts of one server. Whoever proved to be nobody is not counted: they are refused anyway. */
export function callRates(limits: CallLimits): CallRates {
  const callers = buckets(limits.perCaller);
  const tenants = buckets(limits.perTenant);
  const streams = new Map<string, number>();
  const refused = (what: string, retryAfterMs: number) =>
    transient("too-many-requests", `${what}; come back in ${retryAfterMs} ms`, { retryAfterMs });
  return {
    admit(who, nowMs) {
      if (who.actor === "") return;
      const caller = callerOf(who);
      const callerWait = callers.wait(caller, nowMs);
      if (callerWait > 0) throw refused(`more than ${limits.perCaller} calls a second`, callerWait);
      const tenantWait = who.tenant === "" ? 0 : tenants.wait(who.tenant, nowMs);
      if (tenantWait > 0) {
        const what = `the tenant makes more than ${limits.perTenant} calls a second`;
        throw refused(what, tenantWait);
      }
      callers.take(caller, nowMs);
      if (who.tenant !== "") tenants.take(who.tenant, nowMs);
    },
    openStream(who) {
      const caller = callerOf(who);
      const open = streams.get(caller) ?? 0;
      if (open >= limits.streamsPerCaller) {
        throw refused(`more than ${limits.streamsPerCaller} streams at once`, 1_000);
      }
      streams.set(caller, open + 1);
      return () => {
        const left = (streams.get(caller) ?? 1) - 1;
        if (left > 0) streams.set(caller, left);
        else streams.delete(caller);
      };
    },
  };
}
