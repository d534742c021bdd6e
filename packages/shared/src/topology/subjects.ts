/** Every subject there is, built here. A token that is not an id never reaches the broker. */
import { isId } from "../aggregate/id.ts";
import { invalid } from "../failure/failure.ts";
import type { Queue } from "../job/job.ts";

const tenantLengthMax = 32;

function token(field: string, value: string, lengthMax = 64): string {
  if (typeof value === "string" && isId(value) && value.length <= lengthMax) return value;
  throw invalid([{ field, description: `must be 1 to ${lengthMax} of a-z, 0-9 and "-"` }]);
}
const tenantToken = (tenant: string) => token("tenant", tenant, tenantLengthMax);
const nameToken = (field: string, name: string) => token(field, name, 32);

/** History of one aggregate. Every builder here fails with `invalid` when a part is no id. */
export const eventSubject = (tenant: string, aggregate: string, id: string): string =>
  `evt.${tenantToken(tenant)}.${nameToken("aggregate", aggregate)}.${token("id", id)}`;

/** History of one job. */
export const journalSubject = (tenant: string, family: string, jobId: string): string =>
  `jrn.${tenantToken(tenant)}.${nameToken("family", family)}.${token("job_id", jobId)}`;

/** A job's place in the work queue. */
export const workSubject = (family: string, queue: Queue, tenant: string, jobId: string): string =>
  `job.${nameToken("family", family)}.${nameToken("queue", queue)}.${tenantToken(tenant)}.${token("job_id", jobId)}`;

/** Filter for the items of one tenant in a queue. */
export const workFilter = (family: string, queue: Queue, tenant: string): string =>
  `job.${nameToken("family", family)}.${nameToken("queue", queue)}.${tenantToken(tenant)}.*`;

/** A job's one pending schedule; publishing again replaces it. */
export const scheduleSubject = (family: string, tenant: string, jobId: string): string =>
  `sched.${nameToken("family", family)}.${tenantToken(tenant)}.${token("job_id", jobId)}`;

/** The audit chain of one tenant. */
export const auditSubject = (tenant: string): string => `audit.${tenantToken(tenant)}`;

/** Where a service puts what one of its parts (a reactor, a queue) cannot digest. */
export const quarantineSubject = (service: string, part: string): string =>
  `quar.${nameToken("service", service)}.${token("part", part)}`;

/** Key of a lease in the bucket: `<tenant>.<noun>.<id>`, like `acme.site.01ab`. */
export const leaseKey = (tenant: string, noun: string, id: string): string =>
  `${tenantToken(tenant)}.${nameToken("noun", noun)}.${token("id", id)}`;

/**
 * Key of the lease that a running job holds on itself. It has one part more than other leases, so that those who
 * listen for released ones are not told of every job.
 */
export const runLeaseKey = (tenant: string, family: string, jobId: string): string =>
  `run.${tenantToken(tenant)}.${nameToken("family", family)}.${token("job_id", jobId)}`;

/** The buckets of the topology. */
export type KvBucket =
  | "leases"
  | "limits"
  | "snapshots"
  | "api-tokens"
  | "api-token-uses"
  | "tenant-keys";

/** Filter for every entry of a bucket with keys of one part. */
export const kvFilter = (bucket: KvBucket): string => `$KV.${bucket}.*`;

/** Subject of a key of a KV bucket; every dot-separated part of the key must be an id. */
export function kvSubject(bucket: KvBucket, key: string): string {
  return `$KV.${bucket}.${key
    .split(".")
    .map((part) => token("key", part))
    .join(".")}`;
}

/** Filter for all aggregates of one kind, of every tenant. */
export const eventFilter = (aggregate: string): string =>
  `evt.*.${nameToken("aggregate", aggregate)}.*`;

/** Filter for the journals of one family, or of all (`*`). */
export const journalFilter = (family: string): string =>
  `jrn.*.${family === "*" ? "*" : nameToken("family", family)}.*`;

/** Where a stored event or journal entry is repeated at once, as a hint without promise. */
export const liveSubject = (subjectOrFilter: string): string => `live.${subjectOrFilter}`;

/** Where a family hears that work was queued. */
export const wakeFilter = (family: string): string => `wake.job.${nameToken("family", family)}.>`;

type History = {
  readonly stream: "EVENTS" | "JOURNAL";
  readonly tenant: string;
  readonly kind: string;
  readonly id: string;
};

/** The same subject is asked for several times in a row: for its body, its headers, its meaning. */
let lastParsed: { readonly subject: string; readonly history: History | undefined } | undefined;

/** The parts of `evt.<tenant>.<aggregate>.<id>` and `jrn.<tenant>.<family>.<jobId>`; undefined for anything else. */
export function parseHistorySubject(subject: string): History | undefined {
  if (lastParsed?.subject === subject) return lastParsed.history;
  const history = historyOf(subject);
  lastParsed = { subject, history };
  return history;
}

function historyOf(subject: string): History | undefined {
  const [prefix, tenant = "", kind = "", id = "", ...rest] = subject.split(".");
  const stream = prefix === "evt" ? "EVENTS" : prefix === "jrn" ? "JOURNAL" : undefined;
  if (!stream || rest.length > 0 || ![tenant, kind, id].every(isId)) return undefined;
  return { stream, tenant, kind, id };
}

/** The parts of `job.<family>.<queue>.<tenant>.<jobId>`; undefined for anything else. */
export function parseWorkSubject(
  subject: string,
): { family: string; queue: string; tenant: string; jobId: string } | undefined {
  const [prefix, family = "", queue = "", tenant = "", jobId = "", ...rest] = subject.split(".");
  if (prefix !== "job" || rest.length > 0) return undefined;
  if (![family, queue, tenant, jobId].every(isId)) return undefined;
  return { family, queue, tenant, jobId };
}

/** True when a subject matches a filter with `*` and `>`. */
export function subjectMatches(filter: string, subject: string): boolean {
  const wanted = filter.split(".");
  const tokens = subject.split(".");
  for (const [index, want] of wanted.entries()) {
    if (want === ">") return tokens.length > index;
    if (tokens[index] === undefined || (want !== "*" && want !== tokens[index])) return false;
  }
  return wanted.length === tokens.length;
}
