/** Inconsistencies planted in a real broker and a real Postgres, found by `chom doctor` and put right by `--fix`. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { JobFailed, JobQueued } from "@chom/proto/chom/jobs/v1/journal";
import { ChainStarted } from "@chom/proto/chom/scheduler/v1/flows";
import { eventTypes } from "@chom/shared/aggregate/event-types";
import { encodeEvent } from "@chom/shared/event-log/codec";
import { api, connectNats, type Nats, publish, valueOf } from "@chom/shared/event-log/nats";
import { journalEvents } from "@chom/shared/job/journal-events";
import { Secret } from "@chom/shared/secrets/secret";
import type { App } from "@chom/shared/service/app";
import { brokerChecks } from "@chom/shared/service/doctor/broker-checks";
import { certificateCheck } from "@chom/shared/service/doctor/certificate-check";
import { diagnose, mend } from "@chom/shared/service/doctor/check";
import { openPostgres, type Postgres } from "@chom/shared/service/postgres";
import { type Running, startService } from "@chom/shared/service/start";
import { contextFor, runConsole } from "@chom/shared/testing/console";
import { type Ground, startGround } from "@chom/shared/testing/ground";
import { takeNote, toyFamily } from "@chom/shared/testing/toy-family";
import { inboxPrefix } from "@chom/shared/topology/names";
import { runCommand } from "@chom/stack/run-command";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { alertList } from "../alerts/alert-projection.ts";
import { archiveRpc } from "../archive/archive-rpc.ts";
import { archiveTick } from "../archive/follow-events.ts";
import { auditRpc } from "../audit/audit-rpc.ts";
import { chainList } from "../flows/projections.ts";
import { jobList } from "../projections.ts";
import { scheduleList, tickList } from "../schedules/projections.ts";
import { jobChecks } from "./job-checks.ts";
import { logChecks } from "./log-checks.ts";

let ground: Ground;
let running: Running[];
let app: App;
let ssl: App;
let platform: string;
let pool: Postgres;
let sql: Postgres["sql"];
let ownerUrlFile: string;

beforeAll(async () => {
  ground = await startGround();
  const quiet = { CHOM_LOG_LEVEL: "silent" };
  const settings = await ground.environment("scheduler");
  ownerUrlFile = settings["CHOM_POSTGRES_OWNER_URL_FILE"] ?? "";
  // Without the ticks that would mend what is planted before the doctor looks.
  const scheduler = await startService(
    {
      name: "scheduler",
      migrations: new URL("../../migrations", import.meta.url),
      cast(given) {
        app = given;
        return {
          projections: [jobList, chainList, scheduleList, tickList, alertList([])],
          rpc: [archiveRpc(app), auditRpc(app)],
          checks: (rebuild) => [...logChecks(app), ...jobChecks(app, rebuild)],
        };
      },
    },
    { ...settings, ...quiet },
  );
  const toy = toyFamily(new URL("./no-migrations", import.meta.url));
  const family = await startService(
    {
      ...toy,
      cast(given, settings) {
        ssl = given;
        return toy.cast(given, settings);
      },
    },
    { ...(await ground.environment("ssl")), ...quiet, CHOM_ROLE: "api" },
  );
  running = [scheduler, family];
  const urls = { scheduler: scheduler.address, ssl: family.address };
  platform = await contextFor(ground, "platform", urls);
  const url = new Secret(ground.postgres.url.replace(/\/postgres$/, "/chom"));
  pool = openPostgres(url, "ssl", 2);
  sql = pool.sql;
});
afterAll(async () => {
  await pool?.close();
  await Promise.all((running ?? []).map((each) => each.stop()));
  await ground?.stop();
});

type Shown = { service: string; check: string; subject: string; severity: string };
async function doctor(...more: string[]) {
  const { code, out } = await runConsole(platform, ["doctor", "--json", ...more]);
  const found = JSON.parse(out) as Shown[];
  const told = found.map(({ service, check, subject }) => `${service} ${check} ${subject}`);
  return { code, subjects: told.toSorted() };
}

const hourAgo = new Date(Date.now() - 3_600_000);
const envelope = (source: string, subject: string, id: string) => ({
  ...{ source, subject, id, time: hourAgo, actor: "ann" },
  ...{ causationId: "", correlationId: id, traceparent: "" },
});
const happened = eventTypes({ ChainStarted });

async function tellChain(id: string): Promise<number> {
  const subject = `evt.acme.chain.${id}`;
  const event = happened.ChainStarted(ChainStarted.fromPartial({ name: id }));
  const entry = encodeEvent(event, envelope("scheduler", subject, `${id}-1`), app.sealer);
  return app.log.append("EVENTS", subject, 0, [entry]);
}

/** A job that failed an hour ago, in its journal only. */
async function failedJob(jobId: string): Promise<number> {
  const subject = `jrn.acme.ssl.${jobId}`;
  const queued = JobQueued.fromPartial({ jobName: "note.take", queue: "default", tries: 1 });
  const entries = [
    encodeEvent(
      journalEvents.JobQueued(queued),
      envelope("ssl", subject, `${jobId}-1`),
      ssl.sealer,
    ),
    encodeEvent(
      journalEvents.JobFailed(JobFailed.fromPartial({})),
      envelope("ssl", subject, `${jobId}-2`),
      ssl.sealer,
    ),
  ];
  return ssl.log.append("JOURNAL", subject, 0, entries);
}

/** Waits as long as it takes on a busy machine. */
const seen = (of: App, projection: string, position: number) =>
  vi.waitFor(() => of.seen(projection, position), { timeout: 60_000 });

async function as<T>(user: "topology" | "archivist", work: (nats: Nats) => Promise<T>): Promise<T> {
  const seed = new Secret(readFileSync(ground.seedFiles[user], "utf8"));
  const nats = await connectNats({
    ...{ servers: ground.nats.url, name: "test", seed, inboxPrefix: inboxPrefix(user) },
  });
  try {
    return await work(nats);
  } finally {
    await nats.close();
  }
}

/** A job that is journaled and known to the read models, and whose item the broker lost. */
async function plantLostJob(): Promise<void> {
  const { position } = await ssl.dispatch({
    ...{ job: takeNote, jobId: "lost", input: { text: "x" }, tenant: "acme", actor: "ann" },
  });
  await seen(ssl, "open-jobs", position);
  await seen(app, "jobs", position);
  await as("topology", async (nats) => valueOf(await api(nats, "STREAM.PURGE.JOBS"), "purge"));
  const at = hourAgo.toISOString();
  await sql`update ssl.open_jobs set due_at = ${at}, admitted_at = ${at}`;
}

/** What is planted, by the check that has to find it; `--fix` must mend each. */
async function plant(): Promise<string[]> {
  await plantLostJob();
  const at = hourAgo.toISOString();
  await sql`insert into ssl.open_jobs (tenant, job_id, job_name, queue, due_at, position)
    values ('acme', 'unheard', 'note.take', 'default', ${at}, 1)`;
  await sql`update scheduler.jobs set state = 'JOB_STATE_COMPLETED' where job_id = 'lost'`;
  await sql`delete from scheduler.jobs where job_id = 'failed-2'`;
  await sql`insert into scheduler.projection_stops
    (projection, subject, sequence, event_id, event_type, code, message)
    values ('schedules', 'evt.acme.schedule.x', 1, 'e', 't', 'unexpected', 'once')`;
  await sql`update scheduler.projection_checkpoints set stream_epoch = 1 where projection = 'chains'`;
  await sql`create schema scheduler_rebuild authorization scheduler`;
  await sql`delete from scheduler.event_archive where event_id = 'two-1'`;
  await sql`update scheduler.event_archive set body = 'forged' where event_id = 'one-1'`;
  await sql`insert into scheduler.event_log_losses (stream_epoch, whole_until, archived_until)
    values (1, 1, 2)`;
  await sql`insert into scheduler.schedules
    (tenant, schedule_id, spec, version, actor, next_at, created_at)
    values ('acme', 'stuck', '{}', 1, 'ann', ${at}, ${at})`;
  return [
    ...["ssl job-without-item acme/lost", "ssl open-job-unknown acme/unheard"],
    ...["scheduler job-list acme/ssl/lost", "scheduler job-list acme/ssl/failed-2"],
    ...["scheduler projection-stopped schedules", "scheduler projection-halted chains"],
    "scheduler rebuild-left-over scheduler_rebuild",
    ...[
      "scheduler event-archive evt.acme.chain.one 1",
      "scheduler event-archive evt.acme.chain.two 1",
    ],
    "scheduler event-log-loss loss-1",
    ...["scheduler schedule-behind acme/stuck", "scheduler audit-anchor acme"],
    "scheduler history-incomplete acme/ssl/failed",
  ];
}

/** What only a person may mend, each with the commands that its remedy names. */
async function plantInBroker(nats: Nats): Promise<string[]> {
  const { config } = valueOf(
    await api<{ config: object }>(nats, "STREAM.INFO.QUARANTINE"),
    "looking",
  );
  valueOf(await api(nats, "STREAM.UPDATE.QUARANTINE", { ...config, max_msgs: 7 }), "change");
  valueOf(await api(nats, "STREAM.DELETE.KV_limits"), "delete");
  valueOf(await api(nats, "CONSUMER.DELETE.JOBS.ssl-low"), "delete");
  const consumer = valueOf(
    await api<{ config: object }>(nats, "CONSUMER.INFO.JOBS.ssl-high"),
    "looking",
  );
  const changed = { stream_name: "JOBS", config: { ...consumer.config, max_deliver: 2 } };
  valueOf(await api(nats, "CONSUMER.CREATE.JOBS.ssl-high", changed), "change");
  const until = new Date(Date.now() + 600_000).toISOString();
  valueOf(await api(nats, `CONSUMER.PAUSE.EVENTS.${paused}`, { pause_until: until }), "pause");
  return [
    "stream QUARANTINE",
    "stream KV_limits",
    "consumer JOBS/ssl-low",
    "consumer JOBS/ssl-high",
  ];
}
const paused = "ssl-sites";

test("thirteen planted inconsistencies are found, named with their remedy, and mended by --fix", async () => {
  await tellChain("one");
  await seen(app, "chains", await tellChain("two"));
  await failedJob("failed");
  await seen(app, "jobs", await failedJob("failed-2"));
  await app.audit.write("acme", {
    ...{ id: "audited", at: hourAgo.toISOString(), actor: "ann", service: "test", action: "look" },
    ...{ outcome: "decided", code: "", requestId: "", reason: "", resources: {} },
  });
  await archiveTick(app).run(new AbortController().signal);
  const told = await sql`select * from scheduler.jobs order by job_id`;
  // The sweeper of the family would put back what was lost before the doctor sees it.
  await pool.exclusively("tick:sweep", async () => {
    const planted = await plant();
    // A projection that halts says so after three looks.
    await expect
      .poll(() => doctor(), slowly)
      .toMatchObject({
        ...{ code: 1, subjects: expect.arrayContaining(planted) },
      });
    const fixed = await doctor("--fix", "--force", "--reason", "a drill");
    expect(fixed).toEqual({ code: 0, subjects: [failures] });
    // A second visit finds nothing left, and changes nothing.
    expect(await doctor()).toEqual({ code: 0, subjects: [failures] });
  });
  // What was done is in the audit.
  expect((await runConsole(platform, ["audit", "list", "--json"])).out).toMatch(/a drill/);
  expect(await sql`select * from scheduler.jobs where job_id <> 'lost' order by job_id`).toEqual(
    told,
  );
  const rows = await sql`select state from scheduler.jobs where job_id = 'lost'`;
  expect(rows[0]?.["state"]).toBe("JOB_STATE_QUEUED");
  expect((await sql`select 1 from scheduler.chains`).length).toBe(2);
}, 600_000);
const slowly = { timeout: 200_000, interval: 1_000 };
const failures = "scheduler jobs-failed ssl/";

test("a wall that was taken down and a right too many are found, and mended by the migration that the remedy names", async () => {
  await sql`alter table scheduler.alerts disable row level security`;
  await sql`grant delete on scheduler.event_archive to scheduler`;
  const planted = [
    "scheduler tenant-wall scheduler.alerts",
    "scheduler archive-grants scheduler.event_archive",
  ];
  expect((await doctor("--fix", "--force", "--reason", "a drill")).subjects).toEqual(
    expect.arrayContaining(planted),
  );
  const main = fileURLToPath(new URL("../main.ts", import.meta.url));
  const migrated = await runCommand(process.execPath, [main, "migrate"], {
    env: { CHOM_POSTGRES_OWNER_URL_FILE: ownerUrlFile },
  });
  expect(migrated.stderr + migrated.code).toBe("0");
  const { subjects } = await doctor();
  for (const what of planted) expect(subjects).not.toContain(what);
}, 200_000);

test("what only a person may mend is found, and well after the commands that its remedy names", async () => {
  const planted = await as("topology", plantInBroker);
  const found = await doctor();
  expect(found.code).toBe(1);
  for (const what of planted) {
    expect(found.subjects).toContainEqual(expect.stringContaining(`ssl topology ${what}`));
  }
  expect(found.subjects).toContain(`ssl reactor-paused ${paused}`);
  const shown = await runConsole(platform, ["doctor"]);
  expect(shown.out).toMatch(/remedy: run `chom topology plan`, then `chom topology apply`/);
  const at = (user: "topology" | "archivist") => [
    ...["--nats-url", ground.nats.url, "--seed-file", ground.seedFiles[user]],
  ];
  const applied = await runConsole(platform, [
    "topology",
    "apply",
    "--replicas",
    "1",
    ...at("topology"),
  ]);
  expect([applied.code, applied.err]).toEqual([0, expect.anything()]);
  const repaired = await runConsole(platform, ["archive", "repair", "--force", ...at("archivist")]);
  expect(repaired.code).toBe(0);
  await expect.poll(() => doctor(), slowly).toEqual({ code: 0, subjects: [failures] });
}, 300_000);

test("what only a person can put right is named and left alone", async () => {
  valueOf(await publish(app.nats, "quar.scheduler.x", "odd"), "plant");
  await sql`alter role scheduler createdb`;
  const checks = [...logChecks(app)];
  const found = await diagnose(checks);
  expect(found.map(({ check, subject }) => `${check} ${subject}`)).toContain(
    "quarantine quar.scheduler.x",
  );
  await expect(mend(checks, "quarantine", "quar.scheduler.x")).rejects.toMatchObject({
    code: "not-mendable",
  });
  const shown = await runConsole(platform, ["doctor"]);
  expect(shown.out).toMatch(/CRITICAL database-role scheduler: makes-databases/);
  await sql`alter role scheduler nocreatedb`;
}, 120_000);

test("a lease without an end is found and removed; one that is renewed is left alone", async () => {
  const later = () => new Date(Date.now() + 200_000);
  const checks = brokerChecks({ nats: ssl.nats, user: "ssl", now: later });
  valueOf(await publish(ssl.nats, "$KV.leases.acme.run.stuck", "{}"), "plant");
  const headers = { "Nats-TTL": "60s" };
  valueOf(await publish(ssl.nats, "$KV.leases.acme.run.well", "{}", { headers }), "plant");
  const found = await diagnose(checks);
  const ours = found.filter(({ check }) => check === "lease-without-owner");
  expect(ours.map(({ subject }) => subject)).toEqual(["acme.run.stuck"]);
  expect(await mend(checks, "lease-without-owner", "acme.run.stuck")).toMatch(/removed/);
  expect(await mend(checks, "lease-without-owner", "acme.run.stuck")).toMatch(/well by now/);
  // The clock of these checks is set forward: that is seen, too.
  expect(found.map(({ check, severity }) => `${check} ${severity}`)).toContain(
    "clock-broker critical",
  );
});

test("a certificate is named before it ends, and urgently at last", async () => {
  const pem = readFileSync(ground.caFile);
  const at = (days: number) =>
    certificateCheck(pem, () => new Date(Date.now() + days * 86_400_000));
  expect(await diagnose([at(0)])).toEqual([]);
  expect(await diagnose([at(100_000)])).toMatchObject([{ severity: "critical" }]);
});
