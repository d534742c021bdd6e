/** What happens to the jobs of a tenant, from any sequence on, then live: the queue's events. */
import type { WatchJobsRequest, WatchJobsResponse } from "@chom/proto/chom/jobs/v1/jobs";
import type { JournalEntry } from "@chom/shared/job/journal";
import { readJournal } from "@chom/shared/job/journal";
import { journalEvents } from "@chom/shared/job/journal-events";
import { jobNameProblem } from "@chom/shared/input/names";
import { fieldsOf } from "@chom/shared/rpc/fields";
import type { Caller } from "@chom/shared/rpc/unary";
import type { App } from "@chom/shared/service/app";
import { journalSubject, parseHistorySubject } from "@chom/shared/topology/subjects";
import { and, eq, inArray } from "drizzle-orm";
import { follow, lastSequence } from "./follow.ts";
import { journalEntryOf } from "./history/read-history.ts";
import { shownJson } from "./job-view.ts";
import { jobs } from "./tables.ts";

/** The names under which other queues know these entries. */
const queueEvents: Readonly<Record<string, string>> = {
  JobStarted: "JobProcessing",
  JobCompleted: "JobProcessed",
  JobFailed: "JobFailed",
  JobAttemptFailed: "JobExceptionOccurred",
};

const batch = 200;
const typesMax = 30;
/** Jobs whose names are remembered in one stream. */
const knownMax = 20_000;

const names = [...Object.keys(journalEvents), ...Object.values(queueEvents)];

function wishOf(request: WatchJobsRequest, { tenant }: Caller) {
  const fields = fieldsOf(request);
  const after = fields.position("afterSequence");
  const family = fields.optionalId("family");
  const name = fields.optionalFitting("name", jobNameProblem);
  const siteId = fields.optionalId("siteId");
  const types = fields.texts("types", { max: 64, items: { max: typesMax } });
  if (types.some((type) => !names.includes(type))) {
    fields.refuse("types", `must be of ${[...new Set(names)].join(", ")}`);
  }
  const { fromNow, stopAtEnd } = request;
  if (fromNow && after > 0) fields.refuse("afterSequence", "must be 0 with from_now");
  fields.done();
  // The tenant is the credential's, and an id holds neither dot nor wildcard: nobody else's subjects match.
  const filter = `jrn.${tenant}.${family === "" ? "*" : family}.*`;
  return { after, filter, name, siteId, types, fromNow, stopAtEnd };
}

/** What the entries after the first do not say of a job. */
type Known = Pick<WatchJobsResponse, "name" | "siteId" | "serverId">;
const unknown: Known = { name: "", siteId: "", serverId: "" };

const keyOf = (family: string, jobId: string): string => `${family}/${jobId}`;

/** Remembers jobs by their first entries; asks the read model for others, and the journal for the rest. */
function register(app: App, tenant: string) {
  const known = new Map<string, Known>();
  const keep = (key: string, what: Known) => {
    if (known.size >= knownMax) known.clear();
    known.set(key, what);
  };
  function learn(family: string, entry: JournalEntry): void {
    if (entry.name !== "JobQueued") return;
    const { jobName: name, siteId, serverId } = entry.data;
    keep(keyOf(family, entry.meta.id), { name, siteId, serverId });
  }
  return {
    learn,
    async lookUp(ids: readonly { family: string; jobId: string }[]): Promise<void> {
      const missing = ids.filter(({ family, jobId }) => !known.has(keyOf(family, jobId)));
      if (missing.length === 0) return;
      const wanted = [...new Set(missing.map(({ jobId }) => jobId))];
      const rows = await app.db
        .select()
        .from(jobs)
        .where(and(eq(jobs.tenant, tenant), inArray(jobs.jobId, wanted)));
      for (const { family, jobId, name, siteId, serverId } of rows) {
        keep(keyOf(family, jobId), { name, siteId, serverId });
      }
      for (const { family, jobId } of missing) {
        if (known.has(keyOf(family, jobId))) continue;
        const entries = await readJournal(app, journalSubject(tenant, family, jobId));
        for (const entry of entries.slice(0, 1)) learn(family, entry);
      }
    },
    of: (family: string, jobId: string): Known => known.get(keyOf(family, jobId)) ?? unknown,
  };
}

/** Answers WatchJobs. */
export async function* watchJobs(
  app: App,
  request: WatchJobsRequest,
  caller: Caller,
): AsyncIterable<WatchJobsResponse> {
  const wish = wishOf(request, caller);
  const { filter, types, name, siteId } = wish;
  const wants = (entry: JournalEntry, job: Known) =>
    (types.length === 0 ||
      types.includes(entry.name) ||
      types.includes(queueEvents[entry.name] ?? "")) &&
    (name === "" || name === job.name) &&
    (siteId === "" || siteId === job.siteId);
  const follower = follow(app.log, "JOURNAL", filter, caller.signal);
  const known = register(app, caller.tenant);
  try {
    let position = wish.fromNow ? await lastSequence(app.nats, "JOURNAL") : wish.after;
    while (!caller.signal.aborted) {
      const read = await app.log.read("JOURNAL", filter, position, batch);
      const entries = read.entries.flatMap((stored) => {
        const entry = journalEntryOf(app, stored);
        const family = parseHistorySubject(stored.subject)?.kind ?? "";
        return entry ? [{ entry, family, jobId: entry.meta.id }] : [];
      });
      for (const { entry, family } of entries) known.learn(family, entry);
      await known.lookUp(entries);
      for (const { entry, family, jobId } of entries) {
        const job = known.of(family, jobId);
        if (wants(entry, job)) yield { ...shownEntry(entry), ...job, family, jobId };
      }
      position = Math.max(position, read.lastSequence);
      if (read.entries.length > 0) continue;
      if (wish.stopAtEnd) return;
      await follower.changed();
    }
  } finally {
    follower.stop();
  }
}

const shownEntry = (entry: JournalEntry) => ({
  sequence: BigInt(entry.meta.position),
  time: entry.meta.time,
  type: entry.name,
  queueEvent: queueEvents[entry.name] ?? "",
  dataJson: shownJson(entry),
});
