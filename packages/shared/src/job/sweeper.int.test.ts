import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { startNatsServer } from "@chom/stack/nats-server";
import { startPostgres } from "@chom/stack/postgres";
import { drizzle } from "drizzle-orm/postgres-js";
import postgres from "postgres";
import { scratchFolder } from "@chom/stack/scratch-folder";
import { expect, onTestFinished, test } from "vitest";
import { api, connectNats } from "../event-log/nats.ts";
import type { Database } from "../projection/database.ts";
import { startProjector } from "../projection/projector.ts";
import { sharedTablesSql } from "../projection/shared-tables.sql.ts";
import { brokerEngine, quickTopology } from "../testing/broker-engine.ts";
import { ledgerJob } from "../testing/ledger-job.ts";
import { apply } from "../topology/apply.ts";
import { followAdvisories } from "./advisories.ts";
import type { Clock } from "./clock.ts";
import { createDispatch } from "./dispatch.ts";
import { jobControl } from "./job-control.ts";
import { jobsMadeAt } from "./jobs-made-at.ts";
import { openJournal } from "./journal-writer.ts";
import { openJobs, openJobsDdl } from "./open-jobs.ts";
import { sweep } from "./sweeper.ts";
import { startWorkers } from "./worker.ts";

const tenant = "acme";

async function setup(maxDeliver = 20) {
  const scratch = scratchFolder("sweeper");
  const folder = scratch.path;
  const file = join(folder, "ledger");
  writeFileSync(file, "");
  const broker = await startNatsServer();
  const nats = await connectNats({ servers: broker.url, name: "test" });
  const table = quickTopology(1, maxDeliver);
  await apply(nats, table, { nowMs: Date.now() });
  const made = ledgerJob(file);
  const engine = brokerEngine(nats, [made]);
  onTestFinished(async () => {
    engine.queue.close();
    await nats.close();
    await broker.stop();
    scratch.remove();
  });
  const send = (jobId: string, more = {}) =>
    createDispatch(engine)({
      job: made,
      jobId,
      tenant,
      actor: "tester",
      input: { id: jobId, doing: "work" },
      ...more,
    });
  const state = async (jobId: string) => (await openJournal(engine, { tenant, jobId })).state();
  return { nats, engine, table, send, state };
}
async function until(holds: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 30_000;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error("it does not come true");
    await sleep(50);
  }
}

async function withPostgres({
  engine,
  nats,
}: Pick<Awaited<ReturnType<typeof setup>>, "engine" | "nats">) {
  const server = await startPostgres();
  const client = postgres(await server.createDatabase("sweeper"), {
    max: 4,
    onnotice: () => {},
    fetch_types: false,
  });
  await client.unsafe("create schema backup");
  for (const statement of sharedTablesSql("backup")) await client.unsafe(statement);
  await client.unsafe(openJobsDdl("backup"));
  await client.unsafe(openJobsDdl("backup"));
  const db = drizzle(client) as unknown as Database;
  const open = openJobs("backup", "backup");
  const { log, sealer, logger } = engine;
  const options = { service: "backup", db, log, sealer, logger, pollMs: 30 };
  const projector = startProjector(open.projection, options);
  onTestFinished(async () => {
    await projector.stop();
    await client.end();
    await server.stop();
  });
  /** As seen by a sweeper that looks so much later. */
  const sweepIn = (ms: number) => {
    const clock: Clock = { ...engine.clock, now: () => new Date(Date.now() + ms) };
    const jobsMade = jobsMadeAt(nats);
    return sweep({ engine: { ...engine, clock }, db, openJobs: open, jobsMadeAt: jobsMade });
  };
  const rows = async () =>
    (await client`select job_id, due_at from backup.open_jobs where not is_over`).map((row) => row);
  const untold = async () =>
    (await client`select job_id from backup.open_jobs where untold_since is not null`).length;
  return { projector, sweepIn, rows, untold };
}

test("after the loss of the stream JOBS every open job is found in Postgres and queued again, once", async () => {
  const { nats, engine, table, send, state } = await setup();
  const { projector, sweepIn, rows } = await withPostgres({ engine, nats });
  await send("done");
  const workers = startWorkers({ engine, concurrency: 2 });
  await until(async () => (await state("done")).end !== undefined);
  await workers.stop(0);
  await send("now");
  await send("later", { options: { notBefore: new Date(Date.now() + 3_600_000) } });
  const last = await send("parked");
  await api(nats, "STREAM.DELETE.JOBS");
  await apply(nats, table, { nowMs: Date.now() });
  await projector.seen(last.position);
  await until(async () => (await rows()).length === 3);
  // Nothing is due for 30 s yet.
  expect(await sweepIn(1_000)).toBe(0);
  expect(await sweepIn(60_000)).toBe(2);
  // Queued again, so left alone from now on.
  expect(await sweepIn(60_000)).toBe(0);
  expect(await sweepIn(200_000)).toBe(0);
  expect(await sweepIn(2 * 3_600_000)).toBe(1);
  const again = startWorkers({ engine, concurrency: 2 });
  onTestFinished(() => again.stop(0));
  await until(async () => (await state("now")).end !== undefined);
  await until(async () => (await state("parked")).end !== undefined);
  // The one that was swept too early is not due for its worker: it waits in a schedule.
  const item = { family: "backup", queue: "default", tenant, jobId: "later" } as const;
  await until(async () => (await engine.queue.presence(item)) === "schedule");
  expect((await state("later")).everStarted).toBe(false);
  const wish = { family: "backup", jobId: "later", verb: "cancel", actor: "op", reason: "late" };
  await jobControl(engine).on["JobControlRequested"]?.(wish, { tenant, eventId: "w" } as never);
  await until(async () => (await rows()).length === 0);
}, 90_000);

test("case 54: an item that was delivered too often is queued anew, and its job ends", async () => {
  const { nats, engine, send, state } = await setup(2);
  const stop = new AbortController();
  const following = followAdvisories(engine, nats, "backup", stop.signal);
  onTestFinished(async () => {
    stop.abort();
    await following;
  });
  await send("stuck");
  for (let delivery = 1; delivery <= 2; delivery += 1) {
    const [taken] = await engine.queue.take(1, AbortSignal.timeout(10_000));
    expect(taken?.deliveries).toBe(delivery);
    taken?.nak(1);
  }
  const workers = startWorkers({ engine, concurrency: 1 });
  onTestFinished(() => workers.stop(0));
  await until(async () => (await state("stuck")).end?.name === "JobCompleted");
}, 60_000);

test("a job that waits in a schedule is ended when it expires, by nobody but the sweeper", async () => {
  const { engine, nats, send, state } = await setup();
  const { projector, sweepIn, rows } = await withPostgres({ engine, nats });
  const inMs = (ms: number) => new Date(Date.now() + ms);
  const options = { notBefore: inMs(3_600_000), expiresAt: inMs(300_000) };
  const { position } = await send("late", { options });
  await projector.seen(position);
  expect(await sweepIn(200_000)).toBe(0);
  expect((await state("late")).end).toBeUndefined();
  await sweepIn(400_000);
  expect((await state("late")).end?.name).toBe("JobCancelled");
  await until(async () => (await rows()).length === 0);
}, 60_000);

test("what an ended job decided is told although its worker died first and the stream JOBS was lost", async () => {
  const { nats, engine, table, send, state } = await setup();
  const { projector, sweepIn, untold } = await withPostgres({ engine, nats });
  const { log } = engine;
  // Dies, as often as it tries, between the end of the job and its facts.
  const append: typeof log.append = async (...[stream, ...rest]) => {
    if (stream === "EVENTS" && (await state("mute")).end) throw new Error("died");
    return log.append(stream, ...rest);
  };
  const workers = startWorkers({ engine: { ...engine, log: { ...log, append } }, concurrency: 1 });
  const { position } = await send("mute");
  await until(async () => (await state("mute")).end !== undefined);
  await workers.stop(0);
  const { decided, sequence } = await state("mute");
  const subjects = [...new Set(decided.map(({ subject }) => subject))];
  const told = async () =>
    (await Promise.all(subjects.map((subject) => log.load("EVENTS", subject))))
      .flat()
      .map(({ id }) => id);
  const facts = decided.map(({ eventId }) => eventId);
  expect(await told()).not.toEqual(expect.arrayContaining(facts));
  await api(nats, "STREAM.DELETE.JOBS");
  await apply(nats, table, { nowMs: Date.now() });
  await projector.seen(Math.max(position, sequence));
  await until(async () => (await untold()) === 1);
  await sweepIn(60_000);
  expect(await told()).toEqual(expect.arrayContaining(facts));
  expect(await untold()).toBe(0);
}, 90_000);
