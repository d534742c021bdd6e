import { startNatsServer } from "@chom/stack/nats-server";
import { startPostgres } from "@chom/stack/postgres";
import { drizzle } from "drizzle-orm/postgres-js";
import postgres from "postgres";
import { expect, onTestFinished, test } from "vitest";
import { connectNats } from "../event-log/nats.ts";
import type { Database } from "../projection/database.ts";
import { startProjector } from "../projection/projector.ts";
import { sharedTablesSql } from "../projection/shared-tables.sql.ts";
import { brokerEngine } from "../testing/broker-engine.ts";
import { takeNote } from "../testing/toy-family.ts";
import { apply } from "../topology/apply.ts";
import { topology } from "../topology/topology.ts";
import { admissionTo } from "./admission.ts";
import { admit, admitAll } from "./admitter.ts";
import { systemClock } from "./clock.ts";
import { createDispatch } from "./dispatch.ts";
import { jetstreamRoom } from "./jetstream-room.ts";
import type { AnyJob } from "./job.ts";
import { openJobs, openJobsDdl } from "./open-jobs.ts";
import { sweep } from "./sweeper.ts";
import { startWorkers } from "./worker.ts";

const slots = 16;
const note: AnyJob = { ...takeNote, of: ({ text }: { text: string }) => text };

async function setup() {
  const broker = await startNatsServer();
  const nats = await connectNats({ servers: broker.url, name: "test" });
  await apply(nats, topology({ replicas: 1, concurrency: { default: slots } }), {
    nowMs: Date.now(),
  });
  const server = await startPostgres();
  const url = await server.createDatabase("fairness");
  const client = postgres(url, { max: 6, onnotice: () => {}, fetch_types: false });
  await client.unsafe("create schema backup");
  for (const statement of sharedTablesSql("backup")) await client.unsafe(statement);
  await client.unsafe(openJobsDdl("backup"));
  const db = drizzle(client) as unknown as Database;
  const open = openJobs("backup", "backup", { fair: true });
  const admission = admissionTo(jetstreamRoom(nats, systemClock), systemClock);
  const engine = { ...brokerEngine(nats, [note]), admission };
  const { log, sealer, logger } = engine;
  const projector = startProjector(open.projection, { service: "backup", db, log, sealer, logger });
  onTestFinished(async () => {
    await projector.stop();
    await client.end();
    await server.stop();
    engine.queue.close();
    await nats.close();
    await broker.stop();
  });
  const dispatch = createDispatch(engine);
  const send = (tenant: string, jobId: string) =>
    dispatch({ job: note, jobId, tenant, actor: "tester", input: { text: jobId } });
  const ready = (tenant: string) =>
    admission.room.ready({ family: "backup", queue: "default", tenant });
  const options = { engine, db, openJobs: open };
  return { engine, projector, send, ready, options, client };
}

async function sendMany(send: (id: string) => Promise<unknown>, count: number): Promise<void> {
  const ids = Array.from({ length: count }, (_, index) => `a-${index}`);
  const next = async () => {
    for (let id = ids.pop(); id; id = ids.pop()) await send(id);
  };
  await Promise.all(Array.from({ length: 64 }, next));
}

test("case 56: with 10,000 jobs of one tenant queued, another tenant's job starts within as many completions as there are slots", async () => {
  const { engine, send, ready, options } = await setup();
  await sendMany((id) => send("acme", id), 10_000);
  expect((await ready("acme")).size).toBeLessThanOrEqual(slots);
  const stop = new AbortController();
  const admitting = (async () => {
    while (!stop.signal.aborted) {
      await admitAll(options, stop.signal);
      await new Promise((done) => setTimeout(done, 50));
    }
  })();
  const workers = startWorkers({ engine, concurrency: slots });
  const behind: number[] = [];
  for (let index = 0; index < 5; index += 1) {
    await new Promise((done) => setTimeout(done, 300));
    const { position } = await send("other", `b-${index}`);
    const subject = `jrn.other.backup.b-${index}`;
    await expect
      .poll(async () => (await engine.log.load("JOURNAL", subject)).length, { timeout: 30_000 })
      .toBeGreaterThanOrEqual(3);
    const started = (await engine.log.load("JOURNAL", subject)).find(({ type }) =>
      type.endsWith("JobStarted"),
    );
    let completions = 0;
    for (let at = position; started && at < started.sequence; ) {
      const { entries, lastSequence } = await engine.log.read("JOURNAL", "jrn.>", at, 500);
      completions += entries.filter(
        ({ type, sequence }) => type.endsWith("JobCompleted") && sequence < started.sequence,
      ).length;
      at = Math.max(lastSequence, at + 1);
    }
    behind.push(completions);
  }
  await workers.stop(5_000);
  stop.abort();
  await admitting;
  expect(behind).toHaveLength(5);
  for (const completions of behind) expect(completions).toBeLessThanOrEqual(slots);
}, 180_000);

test("several replicas admit each waiting job once, every job ends, and the sweeper leaves waiting ones alone", async () => {
  const { engine, projector, send, ready, options, client } = await setup();
  for (let index = 0; index < 60; index += 1) await send("acme", `a-${index}`);
  const last = await send("other", "b-1");
  await projector.seen(last.position);
  expect((await ready("acme")).size).toBe(slots);
  const clock = { ...systemClock, now: () => new Date(Date.now() + 60_000) };
  const jobsMadeAt = async () => new Date(0);
  expect(await sweep({ ...options, engine: { ...engine, clock }, jobsMadeAt })).toBe(0);
  await Promise.all([1, 2, 3].map(() => admit(options)));
  expect((await ready("acme")).size).toBeLessThanOrEqual(slots);
  const workers = startWorkers({ engine, concurrency: 4 });
  await expect
    .poll(
      async () => {
        await Promise.all([1, 2, 3].map(() => admit(options)));
        return (await client`select 1 from backup.open_jobs where not is_over`).length;
      },
      { timeout: 30_000 },
    )
    .toBe(0);
  await workers.stop(2_000);
}, 90_000);
