/** Measuring what the rules look at: the read model of jobs, worker processes and the quarantine. */
import { JobState } from "@chom/proto/chom/jobs/v1/jobs";
import { api, valueOf } from "@chom/shared/event-log/nats";
import type { App } from "@chom/shared/service/app";
import { signerDenials } from "@chom/shared/service/signer-denials";
import { workerReports } from "@chom/shared/service/worker-report";
import { and, count, eq, gt, inArray, isNotNull, isNull, min, or, sql } from "drizzle-orm";
import { refusedJobs } from "../flows/tables.ts";
import { jobs } from "../tables.ts";
import type { AlertThresholds, Measurements } from "./rules.ts";

const recentMs = 600_000;
const usualMs = 3_600_000;
/** Fewer completed jobs say nothing about what is usual. */
const usualMin = 20;
const quarantineMs = 86_400_000;
const rotations = ["key.rotate", "key.retire"];

const isFailed = and(eq(jobs.state, JobState.FAILED), eq(jobs.forgotten, false));

const failedSince = (app: App, since: Date, code?: string) =>
  app.db
    .select({ tenant: jobs.tenant, count: count() })
    .from(jobs)
    .where(and(isFailed, gt(jobs.endedAt, since), code ? eq(jobs.failureCode, code) : undefined))
    .groupBy(jobs.tenant);

const unacceptedSince = (app: App, since: Date) =>
  app.db
    .select({ tenant: refusedJobs.tenant, count: count() })
    .from(refusedJobs)
    .where(and(eq(refusedJobs.code, "not-accepted-in-time"), gt(refusedJobs.refusedAt, since)))
    .groupBy(refusedJobs.tenant);

export type QueueCount = {
  readonly family: string;
  readonly queue: string;
  readonly state: JobState;
  readonly count: number;
};

/** Jobs that have not ended, by family, queue and state; of one tenant, or of all. */
export const queueCounts = (app: App, tenant?: string): Promise<QueueCount[]> =>
  app.db
    .select({ family: jobs.family, queue: jobs.queue, state: jobs.state, count: count() })
    .from(jobs)
    .where(and(isNull(jobs.endedAt), tenant === undefined ? undefined : eq(jobs.tenant, tenant)))
    .groupBy(jobs.family, jobs.queue, jobs.state);

function depthsOf(counts: readonly QueueCount[]): Measurements["depths"] {
  const depths = new Map<string, { family: string; queue: string; count: number }>();
  for (const { family, queue, count, state } of counts) {
    // A parked job waits for a person, not in the queue.
    if (state === JobState.PARKED) continue;
    const key = `${family}.${queue}`;
    depths.set(key, { family, queue, count: count + (depths.get(key)?.count ?? 0) });
  }
  return [...depths.values()];
}

async function durations(app: App, now: Date): Promise<Measurements["durations"]> {
  const ago = (ms: number) => new Date(now.getTime() - ms);
  const running = await app.db
    .select({ name: jobs.name, since: min(jobs.startedAt) })
    .from(jobs)
    .where(and(isNull(jobs.endedAt), eq(jobs.state, JobState.RUNNING)))
    .groupBy(jobs.name);
  const took = sql`extract(epoch from ${jobs.endedAt} - ${jobs.startedAt}) * 1000`;
  const median = (which: ReturnType<typeof sql>) =>
    sql<
      number | null
    >`percentile_cont(0.5) within group (order by ${took}) filter (where ${which})`;
  const isRecent = sql`${jobs.endedAt} > ${ago(recentMs).toISOString()}::timestamptz`;
  const isUsual = sql`${jobs.state} = ${JobState.COMPLETED}`;
  const ended = await app.db
    .select({
      name: jobs.name,
      recent: median(isRecent),
      usual: median(isUsual),
      completed: sql<string>`count(*) filter (where ${isUsual})`,
    })
    .from(jobs)
    .where(and(gt(jobs.endedAt, ago(usualMs)), isNotNull(jobs.startedAt)))
    .groupBy(jobs.name);
  const names = [...new Set([...running, ...ended].map(({ name }) => name))];
  return names.map((name) => {
    const since = running.find((row) => row.name === name)?.since;
    const past = ended.find((row) => row.name === name);
    const isKnown = Number(past?.completed ?? 0) >= usualMin;
    return {
      name,
      runningMs: since ? Math.max(0, now.getTime() - since.getTime()) : 0,
      recentMs: past?.recent ?? 0,
      usualMs: isKnown ? (past?.usual ?? 0) : 0,
    };
  });
}

/** Servers whose youngest rotation that came to an end failed or is parked. */
async function failedRotations(app: App): Promise<Measurements["rotations"]> {
  const { tenant, serverId, failureCode: code, queuedAt } = jobs;
  const bad = await app.db
    .select({ tenant, serverId, code, queuedAt })
    .from(jobs)
    .where(
      and(
        inArray(jobs.name, rotations),
        or(isFailed, and(isNull(jobs.endedAt), eq(jobs.state, JobState.PARKED))),
      ),
    );
  const found = new Map<string, (typeof bad)[number]>();
  for (const row of bad) {
    const [later] = await app.db
      .select({ id: jobs.jobId })
      .from(jobs)
      .where(
        and(
          eq(jobs.tenant, row.tenant),
          eq(jobs.serverId, row.serverId),
          inArray(jobs.name, rotations),
          eq(jobs.state, JobState.COMPLETED),
          gt(jobs.queuedAt, row.queuedAt),
        ),
      )
      .limit(1);
    if (!later) found.set(`${row.tenant}/${row.serverId}`, row);
  }
  return [...found.values()];
}

async function quarantined(app: App, now: Date): Promise<number> {
  type Info = { state: { messages: number; last_ts: string } };
  const answer = await api<Info>(app.nats, "STREAM.INFO.QUARANTINE");
  const { messages, last_ts } = valueOf(answer, "reading QUARANTINE").state;
  const isRecent = now.getTime() - new Date(last_ts).getTime() < quarantineMs;
  return isRecent ? messages : 0;
}

/** Measures everything. Fails with what the database or the broker fails with. */
export async function measure(app: App, thresholds: AlertThresholds): Promise<Measurements> {
  const now = app.now();
  const since = new Date(now.getTime() - thresholds.failedWindowMs);
  return {
    failed: await failedSince(app, since),
    lost: await failedSince(app, since, "worker-lost"),
    unaccepted: await unacceptedSince(app, since),
    depths: depthsOf(await queueCounts(app)),
    durations: await durations(app, now),
    workers: await workerReports(app.nats),
    quarantined: await quarantined(app, now),
    rotations: await failedRotations(app),
    denials: await signerDenials(app.nats),
  };
}
