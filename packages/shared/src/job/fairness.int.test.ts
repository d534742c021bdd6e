import { startNatsServer } from "@chom/stack/nats-server";
import { startPostgres } from "@chom/stack/postgres";
import { drizzle } from "drizzle-orm/postgres-js";
import postgres from "postgres";
import { expect, onTestFinished, test } from "vitest";
import { connectNats } from "../event-log/nats.ts";
import { transient } from "../failure/failure.ts";
import type { Database } from "../projection/database.ts";
import { type Projector, startProjector } from "../projection/projector.ts";
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
import type { Engine } from "./engine.ts";
import type { AnyJob } from "./job.ts";
import { openJobs, openJobsDdl } from "./open-jobs.ts";
import { sweep } from "./sweeper.ts";
import { startWorkers } from "./worker.ts";

const slots = 16;
const note: AnyJob = {
  ...takeNote,
  of: ({ text }: { text: string }) => text,
  backoffMs: [600_000],
  work: async ({ text }: { text: string }, run) => {
    if (text.startsWith("again") && run.attempt === 1) throw transient("service-down", "not yet");
    return takeNote.work({ text }, run as never);
  },
};

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
  const table = openJobs("backup", "backup", { fair: true });
  const admission = admissionTo(jetstreamRoom(nats, systemClock), systemClock);
  let aheadMs = 0;
  const clock = { ...systemClock, now: () => new Date(Date.now() + aheadMs) };
  const engine = { ...brokerEngine(nats, [note]), admission, clock };
  const { log, sealer, logger } = engine;
  const projector = startProjector(table.projection, {
    service: "backup",
    db,
    log,
    sealer,
    logger,
  });
  onTestFinished(async () => {
    await projector.stop();
    await client.end();
    await server.stop();
    engine.queue.close();
    await nats.close();
    await broker.stop();
  });
  const dispatch = createDispatch(engine);
  const send = (tenant: string, jobId: string, notBefore?: Date) =>
    dispatch({
      ...{ job: note, jobId, tenant, actor: "tester", input: { text: jobId } },
      options: notBefore ? { notBefore } : {},
    });
  const skip = (ms: number) => {
    aheadMs += ms;
  };
  const ready = (tenant: string) =>
    admission.room.ready({ family: "backup", queue: "default", tenant });
  const options = { engine, db, openJobs: table };
  /** Admits until it is stopped, as a replica of the service does. */
  function startAdmitting() {
    const stop = new AbortController();
    const done = (async () => {
      while (!stop.signal.aborted) {
        await admitAll(options, stop.signal);
        await new Promise((again) => setTimeout(again, 50));
      }
    })();
    return async () => {
      stop.abort();
      await done;
    };
  }
  const entriesOf = (tenant: string, jobId: string) =>
    engine.log.load("JOURNAL", `jrn.${tenant}.backup.${jobId}`);
  const open = async () => (await client`select 1 from backup.open_jobs where not is_over`).length;
  return { engine, projector, send, skip, ready, options, open, startAdmitting, entriesOf };
}

/** How many jobs completed between two positions of the journal. */
async function completions({ log }: Engine, from: number, to: number): Promise<number> {
  let count = 0;
  for (let at = from; at < to; ) {
    const { entries, lastSequence } = await log.read("JOURNAL", "jrn.>", at, 500);
    count += entries.filter(
      ({ type, sequence }) => type.endsWith("JobCompleted") && sequence < to,
    ).length;
    at = Math.max(lastSequence, at + 1);
  }
  return count;
}

/** A projection answers within 2 s; a busy machine needs longer for thousands of entries. */
const caughtUp = ({ seen }: Pick<Projector, "seen">, position: number) =>
  expect
    .poll(
      () =>
        seen(position).then(
          () => "seen",
          () => "behind",
        ),
      { timeout: 60_000 },
    )
    .toBe("seen");

const nameOf = ({ type }: { type: string }) => type.slice(type.lastIndexOf(".") + 1);

async function sendMany(
  send: (id: string) => Promise<unknown>,
  count: number,
  prefix = "a",
): Promise<void> {
  const ids = Array.from({ length: count }, (_, index) => `${prefix}-${index}`);
  const next = async () => {
    for (let id = ids.pop(); id; id = ids.pop()) await send(id);
  };
  await Promise.all(Array.from({ length: 64 }, next));
}

test("case 56: with 10,000 jobs of one tenant queued, another tenant's job starts within as many completions as there are slots", async () => {
  const { engine, send, ready, startAdmitting, entriesOf } = await setup();
  await sendMany((id) => send("acme", id), 10_000);
  expect((await ready("acme")).size).toBeLessThanOrEqual(slots);
  const stopAdmitting = startAdmitting();
  const workers = startWorkers({ engine, concurrency: slots });
  const behind: number[] = [];
  for (let index = 0; index < 5; index += 1) {
    await new Promise((done) => setTimeout(done, 300));
    const { position } = await send("other", `b-${index}`);
    const entries = () => entriesOf("other", `b-${index}`);
    await expect
      .poll(async () => (await entries()).length, { timeout: 30_000 })
      .toBeGreaterThanOrEqual(3);
    const started = (await entries()).find((entry) => nameOf(entry) === "JobStarted");
    behind.push(await completions(engine, position, started?.sequence ?? 0));
  }
  await workers.stop(5_000);
  await stopAdmitting();
  expect(behind).toHaveLength(5);
  for (const count of behind) expect(count).toBeLessThanOrEqual(slots);
}, 180_000);

test("2,000 delayed jobs of one tenant that come due at once keep another's from starting no longer than the slots say", async () => {
  const { engine, projector, send, skip, ready, startAdmitting, entriesOf } = await setup();
  const due = new Date(Date.now() + 3_600_000);
  await sendMany((id) => send("acme", id, due), 2_000);
  const { position } = await send("other", "b-1", due);
  await caughtUp(projector, position);
  expect((await ready("acme")).size + (await ready("other")).size).toBe(0);
  skip(3_600_000);
  const stopAdmitting = startAdmitting();
  const workers = startWorkers({ engine, concurrency: slots });
  const started = async () =>
    (await entriesOf("other", "b-1")).find((entry) => nameOf(entry) === "JobStarted");
  await expect.poll(started, { timeout: 60_000 }).toBeDefined();
  expect((await ready("acme")).size).toBeLessThanOrEqual(slots);
  await workers.stop(5_000);
  await stopAdmitting();
  const count = await completions(engine, position, (await started())?.sequence ?? 0);
  expect(count).toBeLessThanOrEqual(slots);
}, 120_000);

test("retries that come due at once stand in line, over the end of their worker, and cost no further attempt", async () => {
  const { engine, projector, send, skip, ready, open, startAdmitting, entriesOf } = await setup();
  await sendMany((id) => send("acme", id), 100, "again");
  const stopAdmitting = startAdmitting();
  const first = startWorkers({ engine, concurrency: slots });
  const last = () => engine.log.read("JOURNAL", "jrn.acme.>", 0, 1_000);
  const failed = async () =>
    (await last()).entries.filter((entry) => nameOf(entry) === "JobAttemptFailed").length;
  await expect.poll(failed, { timeout: 60_000 }).toBe(100);
  await first.stop(5_000);
  await stopAdmitting();
  await caughtUp(projector, (await last()).lastSequence);
  expect((await ready("acme")).size).toBe(0);
  skip(700_000);
  const { position } = await send("other", "b-1");
  const stopAgain = startAdmitting();
  await expect.poll(async () => (await ready("acme")).size).toBeGreaterThan(0);
  expect((await ready("acme")).size).toBeLessThanOrEqual(slots);
  const workers = startWorkers({ engine, concurrency: slots });
  await expect.poll(open, { timeout: 60_000 }).toBe(0);
  await workers.stop(5_000);
  await stopAgain();
  const started = (await entriesOf("other", "b-1")).find((entry) => nameOf(entry) === "JobStarted");
  expect(await completions(engine, position, started?.sequence ?? 0)).toBeLessThanOrEqual(slots);
  for (let index = 0; index < 100; index += 1) {
    const names = (await entriesOf("acme", `again-${index}`)).map(nameOf);
    expect(names.filter((name) => name !== "JobProgressed")).toEqual([
      ...["JobQueued", "JobStarted", "JobAttemptFailed"],
      ...["JobStarted", "StepCompleted", "JobCompleted"],
    ]);
  }
}, 120_000);

test("several replicas admit each waiting job once, every job ends, and the sweeper leaves waiting ones alone", async () => {
  const { engine, projector, send, ready, options, open } = await setup();
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
        return open();
      },
      { timeout: 30_000 },
    )
    .toBe(0);
  await workers.stop(2_000);
}, 90_000);
