/** Jobs of one family that nothing carries on: due, and without item, schedule or running attempt. */
import type { Database } from "../../projection/database.ts";
import type { Engine } from "../../job/engine.ts";
import { readJournal } from "../../job/journal.ts";
import type { OpenJobs } from "../../job/open-jobs.ts";
import { leaseKey } from "../../topology/subjects.ts";
import { journalSubject } from "../../topology/subjects.ts";
import type { Diagnosis, DoctorCheck } from "./check.ts";

export type JobParts = {
  readonly engine: Engine;
  readonly db: Database;
  readonly openJobs: OpenJobs;
  readonly sweep: () => Promise<number>;
  readonly rebuild: (name: string) => Promise<number>;
};

/** The sweeper has had several looks by then. */
const lostAfterMs = 120_000;
const lookedMax = 500;
/** Far behind any due time: every job that waits for time or a turn. */
const farMs = 10 * 365 * 86_400_000;

const carriedCheck = ({ engine, db, openJobs, sweep }: JobParts): DoctorCheck => ({
  name: "job-without-item",
  async run() {
    const before = new Date(engine.clock.now().getTime() - lostAfterMs);
    const found: Diagnosis[] = [];
    for (const { item } of await openJobs.due(db, before, lookedMax)) {
      const { tenant, jobId } = item;
      if (await engine.leases.held(leaseKey(tenant, "run", jobId))) continue;
      if ((await engine.queue.presence(item)) !== "nothing") continue;
      found.push({
        subject: `${tenant}/${jobId}`,
        severity: "warning",
        message: "the job is due, and no item, schedule or running attempt carries it on",
        remedy: "queue it again; the sweeper does so by itself every 10 s while the service runs",
        mend: async () => `${await sweep()} jobs were queued again`,
      });
    }
    return found;
  },
});

const endedCheck = ({ engine, db, openJobs, rebuild }: JobParts): DoctorCheck => ({
  name: "open-job-unknown",
  async run() {
    const far = new Date(engine.clock.now().getTime() + farMs);
    const found: Diagnosis[] = [];
    for (const { item } of await openJobs.due(db, far, lookedMax)) {
      const { family, tenant, jobId } = item;
      const entries = await readJournal(engine, journalSubject(tenant, family, jobId));
      if (entries.length > 0) continue;
      found.push({
        subject: `${tenant}/${jobId}`,
        severity: "critical",
        message: "the read model has an open job that has no journal: the stream JOURNAL lost it",
        remedy:
          "rebuild open-jobs; ask for the job again if it is still wanted (docs/runbooks/event-log-damaged.md)",
        mend: async () => `open-jobs was rebuilt: ${await rebuild("open-jobs")} rows differed`,
      });
    }
    return found;
  },
});

export const jobChecks = (parts: JobParts): DoctorCheck[] => [
  carriedCheck(parts),
  endedCheck(parts),
];
