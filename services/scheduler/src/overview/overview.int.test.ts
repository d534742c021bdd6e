/** Numbers over jobs: kept right whatever happens to the rows, and answered without counting them. */
import { randomBytes } from "node:crypto";
import type { GetOverviewResponse, GetThroughputResponse } from "@chom/proto/chom/jobs/v1/overview";
import { JobState } from "@chom/proto/chom/jobs/v1/jobs";
import type { ProjectedMeta } from "@chom/shared/projection/projection";
import { sharedTablesSql } from "@chom/shared/projection/shared-tables.sql";
import { type Caller, plainHandler } from "@chom/shared/rpc/unary";
import { keyring } from "@chom/shared/secrets/keyring";
import { Secret } from "@chom/shared/secrets/secret";
import type { App } from "@chom/shared/service/app";
import { migrateService } from "@chom/shared/service/migrate";
import { connectOnce, openPostgres, type Postgres as Pool } from "@chom/shared/service/postgres";
import { type Postgres, startPostgres } from "@chom/stack/postgres";
import { afterAll, beforeAll, expect, test } from "vitest";
import { bucketSeconds, overviewRpc } from "./overview-rpc.ts";
import { throughput } from "./throughput-projection.ts";

const now = new Date("2026-03-01T12:07:30Z");
const sealer = keyring([{ keyId: "k1", key: new Secret(randomBytes(32)) }], randomBytes);
const signal = AbortSignal.timeout(60_000);
let server: Postgres;
let pool: Pool;
let ownerUrl: Secret;

beforeAll(async () => {
  server = await startPostgres();
  const urls = await server.createServiceRoles("scheduler", "test-password");
  ownerUrl = new Secret(urls.ownerUrl);
  const shared = sharedTablesSql("scheduler");
  const folder = new URL("../../migrations", import.meta.url);
  await migrateService({ url: ownerUrl, service: "scheduler", shared, folder });
  pool = openPostgres(new Secret(urls.url), "scheduler");
}, 120_000);
afterAll(async () => {
  await pool?.close();
  await server?.stop();
});

const callerOf = (tenant: string): Caller => ({
  ...{ tenant, actor: "ann", permissions: ["*"], service: undefined, traceparent: "" },
  ...{ signal, deadline: new Date(Date.now() + 60_000) },
});

function ask<T>(name: "getOverview" | "getThroughput", request: object, tenant = "acme") {
  const app = { db: pool.db, sealer, now: () => now, seen: async () => {} } as unknown as App;
  const handler = overviewRpc(app).implementation[name] as Parameters<typeof plainHandler>[0];
  return plainHandler(handler)(request, callerOf(tenant)) as Promise<T>;
}

const counted = () => pool.sql`select tenant, family, queue, state, count(*)::int as jobs
  from scheduler.jobs where not forgotten group by 1, 2, 3, 4 order by 1, 2, 3, 4`;
const kept = () => pool.sql`select tenant, family, queue, state, jobs::int
  from scheduler.job_states where jobs <> 0 order by 1, 2, 3, 4`;

const insert = (from: number, to: number) => pool.sql`
  insert into scheduler.jobs (tenant, job_id, family, name, queue, state, site_id, server_id, aggregate_id,
    tries, actor, queued_at)
  select case when i % 7 = 0 then 'other' else 'acme' end, 'job-' || i, (array['backup','ssl'])[1 + i % 2], 'n',
    (array['high','default'])[1 + i % 2], (array['JOB_STATE_QUEUED','JOB_STATE_FAILED'])[1 + i % 2],
    '', '', 'a', 3, 'ann', timestamptz '2026-03-01T10:00:00Z' + i * interval '1 second'
  from generate_series(${from}::int, ${to}::int) i
  on conflict (tenant, job_id, family) do update set state = 'JOB_STATE_QUEUED', forgotten = false`;

test("counts are those of the rows after inserts, changes, conflicts, forgetting and removal", async () => {
  const steps = [
    () => insert(1, 400),
    () => pool.sql`update scheduler.jobs set state = 'JOB_STATE_RUNNING' where job_id like '%3'`,
    () => pool.sql`update scheduler.jobs set progress = 'half', percent = 50`,
    () => pool.sql`update scheduler.jobs set forgotten = true where state = 'JOB_STATE_FAILED'`,
    // Ids that are used again are new jobs.
    () => insert(350, 500),
    () => pool.sql`delete from scheduler.jobs where job_id like '%7'`,
    () => pool.sql`update scheduler.jobs set queue = 'low' where job_id like '%1'`,
  ];
  for (const step of steps) {
    await step();
    expect(await kept()).toEqual(await counted());
  }
  expect((await kept()).length).toBeGreaterThan(6);
  await expect(
    pool.sql.begin(async (tx) => {
      await tx`delete from scheduler.jobs`;
      throw new Error("taken back");
    }),
  ).rejects.toThrow("taken back");
  expect(await kept()).toEqual(await counted());
  await connectOnce(ownerUrl, "overview-test", (sql) => sql`truncate scheduler.jobs`);
  expect(await kept()).toEqual([]);
});

test("the overview has the tenant's counts and its oldest jobs", async () => {
  await insert(1, 100);
  await pool.sql`update scheduler.jobs set state = 'JOB_STATE_RUNNING', started_at = queued_at
    where job_id in ('job-20', 'job-10')`;
  const found = await ask<GetOverviewResponse>("getOverview", { minPosition: 0n });
  const of = (wanted: JobState) => found.counts.find(({ state }) => state === wanted)?.jobs;
  expect(of(JobState.QUEUED)).toBe(41n);
  expect(of(JobState.RUNNING)).toBe(2n);
  expect(found.oldestReady?.jobId).toBe("job-2");
  expect(found.oldestRunning?.jobId).toBe("job-10");
  const other = await ask<GetOverviewResponse>("getOverview", { minPosition: 0n }, "third");
  expect(other).toEqual({ counts: [], oldestReady: undefined, oldestRunning: undefined });
});

/** Folds an entry of a journal as the projector does. */
const happened = (name: string, at: string, data: object = {}, of: object = {}) =>
  pool.db.transaction(async (tx) => {
    const meta = {
      tenant: "acme",
      family: "ssl",
      ...of,
      id: "j",
      time: new Date(at),
    } as ProjectedMeta;
    await throughput.on[name]?.(data, meta, tx);
  });

test("what happened is told by buckets that stand still, empty ones included", async () => {
  await happened("JobQueued", "2026-03-01T12:01:00Z");
  await happened("JobCompleted", "2026-03-01T12:01:59.999Z", { durationMs: 1_500n });
  await happened("JobCompleted", "2026-03-01T12:02:00Z", { durationMs: 500n });
  await happened("JobFailed", "2026-03-01T10:08:00Z", {}, { family: "backup" });
  await happened("JobAttemptFailed", "2026-03-01T12:03:00Z", { nextAt: new Date() });
  await happened("JobAttemptFailed", "2026-03-01T12:03:00Z", { nextAt: undefined });
  await happened("JobCompleted", "2026-03-01T12:04:00Z", { durationMs: 1n }, { tenant: "other" });
  const two = await ask<GetThroughputResponse>("getThroughput", {
    hours: 2,
    family: "",
    minPosition: 0n,
  });
  expect(two.bucketSeconds).toBe(60);
  expect(two.buckets).toHaveLength(120);
  expect(two.buckets.at(0)?.startsAt).toEqual(new Date("2026-03-01T10:08:00Z"));
  expect(two.buckets.at(0)?.failed).toBe(1n);
  expect(two.buckets.at(-7)).toMatchObject({ queued: 1n, completed: 1n, durationMs: 1_500n });
  const day = await ask<GetThroughputResponse>("getThroughput", {
    hours: 0,
    family: "ssl",
    minPosition: 0n,
  });
  expect(day.buckets.at(-1)).toMatchObject({
    completed: 2n,
    retried: 1n,
    failed: 0n,
    durationMs: 2_000n,
  });
  const long = await ask<GetThroughputResponse>("getThroughput", {
    hours: 2_160,
    family: "",
    minPosition: 0n,
  });
  expect(long.buckets.at(-1)).toMatchObject({ completed: 2n, failed: 1n });
  expect(long.buckets).toHaveLength(90);
});

test("case 61: hours and families out of bounds are refused by name", async () => {
  for (const [field, request] of [
    ["hours", { hours: 2_161, family: "" }],
    ["hours", { hours: -1, family: "" }],
    ["family", { hours: 1, family: "'; drop table" }],
  ] as const) {
    const asked = ask("getThroughput", { ...request, minPosition: 0n });
    await expect(asked).rejects.toMatchObject({ kind: "invalid", violations: [{ field }] });
  }
  const asked = ask("getOverview", { minPosition: -1n });
  await expect(asked).rejects.toMatchObject({ violations: [{ field: "min_position" }] });
});

test("no span has more than 120 buckets", () => {
  for (let hours = 1; hours <= 2_160; hours += 1) {
    expect(Math.ceil((hours * 3_600) / bucketSeconds(hours))).toBeLessThanOrEqual(120);
  }
});
