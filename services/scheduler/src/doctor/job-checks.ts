/** The doctor's look at what the scheduler tells of jobs and schedules, compared with the journals. */
import { JobState } from "@chom/proto/chom/jobs/v1/jobs";
import { readJournal } from "@chom/shared/job/journal";
import type { App } from "@chom/shared/service/app";
import type { Diagnosis, DoctorCheck } from "@chom/shared/service/doctor/check";
import { leases } from "@chom/shared/lease/lease";
import {
  journalFilter,
  journalSubject,
  leaseKey,
  parseHistorySubject,
} from "@chom/shared/topology/subjects";
import { and, desc, eq, gt, isNotNull, isNull, lt, sql } from "drizzle-orm";
import { historyPorts } from "../history/keep-history.ts";
import { historyJobs } from "../history/history-tables.ts";
import { historyStore } from "../history/history-store.ts";
import { archiveEnded } from "../history/retention.ts";
import { stateAfter } from "../job-view.ts";
import { schedules } from "../schedules/tables.ts";
import { jobs } from "../tables.ts";

type Rebuild = (projection: string) => Promise<number>;

const lookedMax = 200;
/** Entries of the journals' end whose jobs must be known. */
const tailMax = 2_000;

const rebuilt = (rebuild: Rebuild, name: string) => async () =>
  `${name} was rebuilt: ${await rebuild(name)} rows differed`;

const wrong = (subject: string, message: string, rebuild: Rebuild): Diagnosis => ({
  ...{ subject, message, severity: "critical" },
  remedy: "rebuild the read model `jobs`",
  mend: rebuilt(rebuild, "jobs"),
});

/** Rows against their journals, newest first, and the newest journals against the rows. */
const listCheck = (app: App, rebuild: Rebuild): DoctorCheck => ({
  name: "job-list",
  async run() {
    const { db, log } = app;
    const found: Diagnosis[] = [];
    const rows = await db.select().from(jobs).orderBy(desc(jobs.queuedAt)).limit(lookedMax);
    for (const { tenant, family, jobId, state } of rows) {
      const entries = await readJournal(app, journalSubject(tenant, family, jobId));
      const told = stateAfter(entries);
      if (entries.length === 0 || told === state) continue;
      // The projection may just be at it: only what stays so is wrong.
      await app.seen("jobs", entries.at(-1)?.meta.position ?? 0).catch(() => undefined);
      const [again] = await db
        .select({ state: jobs.state })
        .from(jobs)
        .where(and(eq(jobs.tenant, tenant), eq(jobs.family, family), eq(jobs.jobId, jobId)));
      if (again?.state === told) continue;
      const says = `the list says ${again?.state ?? "nothing"}, its journal says ${told}`;
      found.push(wrong(`${tenant}/${family}/${jobId}`, says, rebuild));
    }
    const tip = await log.tip("JOURNAL");
    const from = Math.max(0, tip - tailMax);
    const { entries } = await log.read("JOURNAL", journalFilter("*"), from, tailMax);
    await app.seen("jobs", entries.at(-1)?.sequence ?? 0).catch(() => undefined);
    for (const { type, subject } of entries) {
      const place = parseHistorySubject(subject);
      if (!place || !type.endsWith(".JobQueued")) continue;
      const { tenant, kind: family, id: jobId } = place;
      const mine = and(eq(jobs.tenant, tenant), eq(jobs.family, family), eq(jobs.jobId, jobId));
      if ((await db.$count(jobs, mine)) > 0) continue;
      const says = "the list does not know the job, and it has a journal";
      found.push(wrong(`${tenant}/${family}/${jobId}`, says, rebuild));
    }
    return found;
  },
});

const historyLateMs = 300_000;

const historyCheck = (app: App): DoctorCheck => ({
  name: "history-incomplete",
  async run() {
    const before = new Date(app.now().getTime() - historyLateMs);
    const rows = await app.db
      .select({ tenant: jobs.tenant, family: jobs.family, jobId: jobs.jobId })
      .from(jobs)
      .leftJoin(
        historyJobs,
        and(
          eq(historyJobs.tenant, jobs.tenant),
          eq(historyJobs.family, jobs.family),
          eq(historyJobs.jobId, jobs.jobId),
        ),
      )
      .where(
        and(isNotNull(jobs.endedSequence), lt(jobs.endedAt, before), isNull(historyJobs.jobId)),
      )
      .limit(lookedMax);
    return rows.map(({ tenant, family, jobId }) => ({
      subject: `${tenant}/${family}/${jobId}`,
      severity: "warning",
      message:
        "the job ended, and its journal is not archived: pruning waits, and a lost stream would lose it",
      remedy: "archive all ended journals once more",
      async mend() {
        const store = historyStore(app.db, app.now);
        await store.moveCursor({ streamEpoch: 0, endedSequence: 0 });
        return `${await archiveEnded(historyPorts(app, undefined))} journals were archived`;
      },
    }));
  },
});

const scheduleLateMs = 300_000;

const scheduleCheck = (app: App, rebuild: Rebuild): DoctorCheck => ({
  name: "schedule-behind",
  async run() {
    const before = new Date(app.now().getTime() - scheduleLateMs);
    const rows = await app.db
      .select()
      .from(schedules)
      .where(and(eq(schedules.paused, false), lt(schedules.nextAt, before)))
      .limit(lookedMax);
    return rows.map(({ tenant, scheduleId, nextAt }) => ({
      subject: `${tenant}/${scheduleId}`,
      severity: "critical",
      message: `its next run was due at ${nextAt?.toISOString()}, and nothing was recorded`,
      remedy: "see that a scheduler runs and what it logs; then rebuild `schedules`",
      mend: rebuilt(rebuild, "schedules"),
    }));
  },
});

const parkedCheck = (app: App): DoctorCheck => ({
  name: "job-parked",
  async run() {
    const rows = await app.db
      .select()
      .from(jobs)
      .where(eq(jobs.state, JobState.PARKED))
      .limit(lookedMax);
    return rows.map(({ tenant, family, jobId, name, failureCode, reason }) => ({
      subject: `${tenant}/${family}/${jobId}`,
      severity: "info",
      message: `${name} waits for a person (${failureCode}): ${reason}`,
      remedy: `when that is done: chom job resume ${jobId}, or chom job cancel ${jobId}`,
    }));
  },
});

const lostRunMs = 300_000;

/** A run renews its lease; one without a lease for minutes has nobody who works on it. */
const runCheck = (app: App): DoctorCheck => ({
  name: "run-without-worker",
  async run() {
    const before = new Date(app.now().getTime() - lostRunMs);
    const rows = await app.db
      .select()
      .from(jobs)
      .where(and(eq(jobs.state, JobState.RUNNING), lt(jobs.startedAt, before)))
      .limit(lookedMax);
    const found: Diagnosis[] = [];
    const held = leases(app.nats, { newHolder: app.newId });
    for (const { tenant, family, jobId, name } of rows) {
      if (await held.held(leaseKey(tenant, "run", jobId))) continue;
      found.push({
        subject: `${tenant}/${family}/${jobId}`,
        severity: "warning",
        message: `${name} is running, and no worker holds its lease`,
        remedy: `start workers of ${family}: its sweeper queues the job again and the next one goes on`,
      });
    }
    return found;
  },
});

const recentMs = 86_400_000;

/** More jobs of a family that ended badly than a person may overlook. */
const failedCheck = (app: App): DoctorCheck => ({
  name: "jobs-failed",
  async run() {
    const after = new Date(app.now().getTime() - recentMs);
    const rows = await app.db
      .select({ family: jobs.family, code: jobs.failureCode, count: sql<number>`count(*)::int` })
      .from(jobs)
      .where(
        and(eq(jobs.state, JobState.FAILED), gt(jobs.endedAt, after), eq(jobs.forgotten, false)),
      )
      .groupBy(jobs.family, jobs.failureCode);
    return rows.map(({ family, code, count }) => ({
      subject: `${family}/${code}`,
      severity: count > 10 ? "warning" : "info",
      message: `${count} jobs failed within a day and wait for a decision`,
      remedy: `chom queue failed --code ${code}; then chom queue retry or forget`,
    }));
  },
});

export const jobChecks = (app: App, rebuild: Rebuild): DoctorCheck[] => [
  listCheck(app, rebuild),
  historyCheck(app),
  scheduleCheck(app, rebuild),
  parkedCheck(app),
  runCheck(app),
  failedCheck(app),
];
