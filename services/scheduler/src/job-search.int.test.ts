/** Searching among a million jobs: every filter finds its page by an index, whatever it asks for. */
import { JobState } from "@chom/proto/chom/jobs/v1/jobs";
import { sharedTablesSql } from "@chom/shared/projection/shared-tables.sql";
import { Secret } from "@chom/shared/secrets/secret";
import { migrateService } from "@chom/shared/service/migrate";
import { openPostgres, type Postgres as Pool } from "@chom/shared/service/postgres";
import { type Postgres, startPostgres } from "@chom/stack/postgres";
import { afterAll, beforeAll, expect, test } from "vitest";
import {
  bucketSeconds,
  bucketsQuery,
  oldestReady,
  oldestRunning,
  stateCounts,
} from "./overview/overview-rpc.ts";
import { conditionsOf, type JobFilter, pageQuery } from "./job-search.ts";

const rows = 1_000_000;
let server: Postgres;
let pool: Pool;

beforeAll(async () => {
  server = await startPostgres();
  const url = new Secret(await server.createDatabase("search"));
  await server.createServiceRoles("scheduler", "test-password", "search");
  const shared = sharedTablesSql("scheduler");
  const folder = new URL("../migrations", import.meta.url);
  await migrateService({ url, service: "scheduler", shared, folder });
  pool = openPostgres(url, "scheduler", 1);
  // Filled without its indexes, which are then made as the migrations made them: a third of the time.
  await pool.sql.unsafe("set maintenance_work_mem = '256MB'");
  await pool.sql.unsafe("alter table scheduler.jobs set unlogged");
  const indexes = await pool.sql<{ indexname: string; indexdef: string }[]>`
    select indexname, indexdef from pg_indexes
    where schemaname = 'scheduler' and tablename = 'jobs' and indexname <> 'jobs_pk'`;
  for (const { indexname } of indexes) await pool.sql.unsafe(`drop index scheduler.${indexname}`);
  await pool.sql.unsafe("alter table scheduler.jobs drop constraint jobs_pk");
  await pool.sql.unsafe("alter table scheduler.jobs disable trigger user");
  // Two tenants of very different size, few failures, rare tags, chains and schedules.
  await pool.sql.unsafe(`
    insert into scheduler.jobs (tenant, job_id, family, name, queue, state, site_id, server_id, aggregate_id,
      tries, actor, failure_code, tags, queued_at, started_at, ended_at, chain_id, batch_id, schedule_id,
      ended_sequence)
    select case when i % 100 = 0 then 'small' else 'big' end,
      lpad(to_hex((i::bigint * 2654435761) % 4294967296), 8, '0') || '-' || i,
      (array['backup','ssl','provisioning','credentials'])[1 + i % 4],
      (array['backup.create','certificate.issue','site.provision','key.rotate'])[1 + i % 4],
      (array['high','default','low'])[1 + i % 3],
      case when i % 997 = 0 then 'JOB_STATE_FAILED' when i % 1009 = 0 then 'JOB_STATE_RUNNING'
        else 'JOB_STATE_COMPLETED' end,
      'site-' || i % 2000, 'server-' || i % 500, 'a', 3, 'ann',
      case when i % 997 = 0 then (array['disk-full','db-locked'])[1 + i % 2] else '' end,
      case when i % 1500 = 1 then array['rare','common'] else array['common'] end,
      timestamptz '2026-01-01' + i * interval '1 second',
      timestamptz '2026-01-01' + i * interval '1 second',
      case when i % 1009 = 0 and i % 997 <> 0 then null else timestamptz '2026-01-01' + i * interval '1 second' end,
      case when i % 4001 = 0 then 'chain-' || i else '' end,
      case when i % 50 = 3 then 'batch-' || i / 5000 else '' end,
      case when i % 900 = 7 then 'nightly' else '' end, i
    from generate_series(1, ${rows}) i`);
  for (const { indexdef } of indexes) await pool.sql.unsafe(indexdef);
  await pool.sql.unsafe(`alter table scheduler.jobs
    add constraint jobs_pk primary key (tenant, job_id, family)`);
  // As the triggers and the projection keep them.
  await pool.sql.unsafe(`
    insert into scheduler.job_states (tenant, family, queue, state, jobs)
    select tenant, family, queue, state, count(*) from scheduler.jobs group by 1, 2, 3, 4`);
  await pool.sql.unsafe(`
    insert into scheduler.job_buckets (tenant, unit, starts_at, family, completed)
    select tenant, unit, date_trunc(unit, ended_at), family, count(*)
    from scheduler.jobs, unnest(array['minute', 'hour']) unit where ended_at is not null group by 1, 2, 3, 4`);
  await pool.sql.unsafe("alter table scheduler.jobs enable trigger user");
  await pool.sql.unsafe("analyze scheduler.jobs, scheduler.job_states, scheduler.job_buckets");
}, 300_000);
afterAll(async () => {
  await pool?.close();
  await server?.stop();
});

type Plan = {
  "Node Type": string;
  "Index Name"?: string;
  "Actual Rows": number;
  "Actual Loops": number;
  "Rows Removed by Filter"?: number;
  Plans?: Plan[];
};

const nodes = (plan: Plan): Plan[] => [plan, ...(plan.Plans ?? []).flatMap(nodes)];

const explained = (filter: Partial<JobFilter>, after?: { createdAt: Date; id: string }) =>
  planOf(pageQuery(pool.db, conditionsOf("big", filter), after, 51));

async function planOf(asked: { toSQL(): { sql: string; params: unknown[] } }) {
  const query = asked.toSQL();
  const [row] = await pool.sql.unsafe(
    `explain (analyze, format json) ${query.sql}`,
    query.params as string[],
  );
  const [told] = (row?.["QUERY PLAN"] ?? []) as { Plan: Plan }[];
  if (!told) throw new Error("no plan");
  const all = nodes(told.Plan);
  return {
    scans: all.map((node) => node["Node Type"]).filter((type) => type.includes("Scan")),
    /** Rows that any node looked at, kept or not. */
    read: all.reduce(
      (sum, node) =>
        sum + (node["Actual Rows"] + (node["Rows Removed by Filter"] ?? 0)) * node["Actual Loops"],
      0,
    ),
  };
}

const at = (index: number) => new Date(Date.UTC(2026, 0, 1) + index * 1_000);

const searches: Readonly<Record<string, Partial<JobFilter>>> = {
  "nothing at all": {},
  "a family": { family: "ssl" },
  "a name": { name: "key.rotate" },
  "failed jobs": { states: [JobState.FAILED] },
  "running and parked jobs": { states: [JobState.RUNNING, JobState.PARKED] },
  "a site": { siteId: "site-7" },
  "a server": { serverId: "server-7" },
  "a rare tag": { tag: "rare" },
  "a common tag": { tag: "common" },
  "a tag that nobody has": { tag: "none" },
  "a failure code": { failureCode: "disk-full" },
  "a chain": { chainId: "chain-4001" },
  "a batch": { batchId: "batch-3" },
  "a schedule": { scheduleId: "nightly" },
  "the beginning of an id": { idPrefix: "00a" },
  "a time of queueing": { queuedAfter: at(1_000), queuedBefore: at(1_100) },
  "a time of ending": { endedAfter: at(1_000), endedBefore: at(1_100) },
  "a failed backup of a site": {
    name: "backup.create",
    siteId: "site-8",
    states: [JobState.FAILED],
  },
  "what does not exist": { siteId: "site-none", states: [JobState.FAILED] },
};

test.each(Object.entries(searches))("%s is found without reading the table", async (_, filter) => {
  const { scans, read } = await explained(filter);
  expect(scans.length).toBeGreaterThan(0);
  expect(scans).not.toContain("Seq Scan");
  expect(read).toBeLessThan(rows / 100);
});

test("a page deep in the list costs as much as the first one", async () => {
  const filter = { states: [JobState.COMPLETED] };
  const { scans, read } = await explained(filter, { createdAt: at(1_000), id: "zzz" });
  expect(scans).not.toContain("Seq Scan");
  expect(read).toBeLessThan(400);
});

test("a prefix finds exactly the ids that begin with it", async () => {
  const found = await pageQuery(pool.db, conditionsOf("big", { idPrefix: "00a" }), undefined, 500);
  expect(found.length).toBeGreaterThan(10);
  expect(found.every(({ jobId }) => jobId.startsWith("00a"))).toBe(true);
  const [row] = await pool.sql<{ count: string }[]>`select count(*) from scheduler.jobs
    where tenant = 'big' and left(job_id, 3) = '00a'`;
  expect(found).toHaveLength(Number(row?.count));
});

test("the overview reads kept counts and the oldest job, not the jobs", async () => {
  const counts = await planOf(stateCounts(pool.db, "big"));
  expect(counts.read).toBeLessThan(200);
  const ready = await planOf(oldestReady(pool.db, "big"));
  expect(ready.scans).not.toContain("Seq Scan");
  expect(ready.read).toBeLessThan(10);
  // As many as workers have in hand.
  const running = await planOf(oldestRunning(pool.db, "big"));
  expect(running.scans).not.toContain("Seq Scan");
  expect(running.read).toBeLessThan(5_000);
});

test.each([2, 24, 168, 2_160])(
  "a chart of %i hours reads the buckets of its span only",
  async (hours) => {
    const widthS = bucketSeconds(hours);
    const since = new Date(at(rows).getTime() - hours * 3_600_000);
    const span = { tenant: "big", family: "", since, widthS };
    const { scans, read } = await planOf(bucketsQuery(pool.db, span));
    expect(scans).not.toContain("Seq Scan");
    // Each row is seen by the scan and by the sum; families times minutes or hours, and no more.
    const units = widthS < 3_600 ? hours * 60 : hours;
    expect(read).toBeLessThanOrEqual((units + 1) * 4 * 3 + 200);
  },
);
