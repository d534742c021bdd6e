import { randomBytes } from "node:crypto";
import { CertificateDropped, CertificateRequested } from "@chom/proto/chom/ssl/v1/events";
import { startNatsServer } from "@chom/stack/nats-server";
import { type Postgres, startPostgres } from "@chom/stack/postgres";
import { drizzle } from "drizzle-orm/postgres-js";
import { eq } from "drizzle-orm";
import { integer, pgSchema, text } from "drizzle-orm/pg-core";
import postgres from "postgres";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { eventTypes } from "../aggregate/event-types.ts";
import { encodeEvent } from "../event-log/codec.ts";
import { entryFor } from "../event-log/conformance.ts";
import type { EventLog } from "../event-log/event-log.ts";
import { jetstreamLog } from "../event-log/jetstream-log.ts";
import { memoryLog } from "../event-log/memory-log.ts";
import { connectNats } from "../event-log/nats.ts";
import { keyring } from "../secrets/keyring.ts";
import { Secret } from "../secrets/secret.ts";
import type { Logger } from "../telemetry/logger.ts";
import { apply } from "../topology/apply.ts";
import { topology } from "../topology/topology.ts";
import { checkpointTables } from "./checkpoint-tables.ts";
import type { Database } from "./database.ts";
import { projection } from "./projection.ts";
import { type ProjectorOptions, startProjector } from "./projector.ts";
import { sharedTablesSql } from "./shared-tables.sql.ts";

let server: Postgres | undefined;
beforeAll(async () => {
  server = await startPostgres();
});
afterAll(() => server?.stop());

const happened = eventTypes({ CertificateRequested, CertificateDropped });
const wanted = pgSchema("ssl").table("wanted", {
  siteId: text("site_id").primaryKey(),
  domain: text("domain").notNull(),
  position: integer("position").notNull(),
});
const tables = checkpointTables("ssl");
const sealer = keyring([{ keyId: "k", key: new Secret(randomBytes(32)) }], randomBytes);

const wantedList = projection({
  name: "wanted-list",
  source: { stream: "EVENTS", aggregate: "certificate" },
  rebuild: { tables: [wanted] },
  from: happened,
  on: {
    CertificateRequested: async ({ siteId, domain }, { position }, tx) => {
      if (domain === "broken.example") throw new Error("a bug");
      await tx.insert(wanted).values({ siteId, domain, position });
    },
    CertificateDropped: (_, { id }, tx) => tx.delete(wanted).where(eq(wanted.siteId, id)),
  },
});

let databases = 0;
/** An empty database of its own, a log, and ways to write into the one and to see the other. */
async function setup(log: EventLog = memoryLog(7)) {
  databases += 1;
  const url = (await server?.createDatabase(`test${databases}`)) ?? "";
  const client = postgres(url, { max: 8, onnotice: () => {}, fetch_types: false });
  const db = drizzle(client) as unknown as Database;
  await client.unsafe(`create schema ssl; create table ssl.wanted
    (site_id text primary key, domain text not null, position int not null)`);
  for (const round of [1, 2]) {
    for (const statement of sharedTablesSql("ssl"))
      await client.unsafe(statement).then(() => round);
  }
  const alerts: unknown[] = [];
  const logger = {
    debug: () => {},
    info: () => {},
    warn: () => {},
    error: (about: { alert?: string }) => alerts.push(about.alert),
  } as unknown as Logger;
  const options: ProjectorOptions = { service: "ssl", db, log, sealer, logger, pollMs: 30 };
  const put = async (
    siteId: string,
    event: ReturnType<typeof request> | undefined,
    source = "ssl",
  ) => {
    const subject = `evt.acme.certificate.${siteId}`;
    const last = (await log.last("EVENTS", subject))?.sequence ?? 0;
    const id = `${siteId}-${last + 1}`;
    const place = { subject, id, time: new Date(0), source, actor: "a" };
    const rest = { causationId: "", correlationId: "", traceparent: "" };
    const added = event
      ? encodeEvent(event, { ...place, ...rest }, sealer)
      : entryFor(subject, id, { type: "chom.ssl.v1.CertificateRequested", body: "garbage" });
    return log.append("EVENTS", subject, last, [added]);
  };
  const start = (over: Partial<ProjectorOptions> = {}) => {
    const projector = startProjector(wantedList, { ...options, ...over });
    onTestFinished(() => projector.stop());
    return projector;
  };
  const rows = async () =>
    (await db.select().from(wanted)).map(({ siteId, domain }) => `${siteId} ${domain}`).toSorted();
  const stops = () => db.select().from(tables.stops);
  onTestFinished(() => client.end({ timeout: 2 }));
  return { db, log, options, put, start, rows, stops, alerts, client };
}
const request = (siteId: string, domain: string) =>
  happened.CertificateRequested(CertificateRequested.fromPartial({ siteId, domain }));
const dropped = (siteId: string) =>
  happened.CertificateDropped(CertificateDropped.fromPartial({ siteId })) as never;

test("events become rows, in order, and a reader can wait for its position", async () => {
  const { put, start, rows } = await setup();
  await put("s1", request("s1", "one.example"));
  const projector = start();
  await put("s2", request("s2", "two.example"));
  const position = await put("s1", dropped("s1"));
  await projector.seen(position);
  expect(await rows()).toEqual(["s2 two.example"]);
  await expect(projector.seen(position + 1)).rejects.toMatchObject({ code: "read-model-behind" });
});

test("case 49: an event that names a foreign producer changes nothing, and its history stops with an alert", async () => {
  const { put, start, rows, stops, alerts } = await setup();
  await put("s1", request("s1", "one.example"));
  await put("s1", dropped("s1"), "provisioning");
  const position = await put("s2", request("s2", "two.example"));
  await start().seen(position);
  expect(await rows()).toEqual(["s1 one.example", "s2 two.example"]);
  expect(await stops()).toMatchObject([{ code: "foreign-producer", eventId: "s1-2" }]);
  expect(alerts).toEqual(["projection-stopped"]);
});

test("a stopped projector goes on where it was, once", async () => {
  const { put, start, rows } = await setup();
  const first = start();
  await first.seen(await put("s1", request("s1", "one.example")));
  await first.stop();
  const position = await put("s2", request("s2", "two.example"));
  // An insert that ran twice would break the primary key and stop the history.
  await start().seen(position);
  expect(await rows()).toEqual(["s1 one.example", "s2 two.example"]);
});

test("three projectors at once apply each event once", async () => {
  const { put, start, rows, stops, db } = await setup();
  const projectors = [start({ batch: 3 }), start({ batch: 5 }), start({ batch: 2 })];
  let position = 0;
  for (let i = 0; i < 60; i += 1) position = await put(`s${i}`, request(`s${i}`, "x.example"));
  await expect
    .poll(() => projectors.map((each) => each.position()), { timeout: 30_000 })
    .toEqual([position, position, position]);
  expect(await rows()).toHaveLength(60);
  expect(await stops()).toEqual([]);
  const [checkpoint] = await db.select().from(tables.checkpoints);
  expect(checkpoint).toMatchObject({ sequence: position, eventId: "s59-1", streamEpoch: 7 });
});

test("an event that fails stops only its own history, and says so", async () => {
  const { put, start, rows, stops, alerts } = await setup();
  await put("s1", request("s1", "one.example"));
  const bad = await put("s2", request("s2", "broken.example"));
  await put("s3", undefined);
  await put("s2", dropped("s2"));
  await put("s2", request("s2", "late.example"));
  const position = await put("s4", request("s4", "four.example"));
  await start().seen(position);
  expect(await rows()).toEqual(["s1 one.example", "s4 four.example"]);
  expect((await stops()).toSorted((a, b) => a.sequence - b.sequence)).toMatchObject([
    { subject: "evt.acme.certificate.s2", sequence: bad, skipped: 2, code: "unexpected" },
    { subject: "evt.acme.certificate.s3", skipped: 0, code: "entry-undecodable" },
  ]);
  expect(alerts).toEqual(["projection-stopped", "projection-stopped"]);
});

test("a recreated or restored stream halts the projector until somebody acts", async () => {
  const { put, start, log, options, alerts } = await setup();
  const before = start();
  await before.seen(await put("s1", request("s1", "one.example")));
  await before.stop();

  const recreated = start({ log: { ...log, epoch: async () => 8 } });
  await expect.poll(() => recreated.failure()?.code).toBe("checkpoint-mismatch");
  expect(recreated.failure()?.message).toMatch(/epoch is 8, not 7/);

  const other = memoryLog(7);
  await other.append("EVENTS", "evt.a.site.1", 0, [entryFor("evt.a.site.1", "stranger")]);
  const restored = start({ log: other });
  await expect
    .poll(() => restored.failure()?.message)
    .toMatch(/expected s1-1 at 1, found stranger/);
  expect(alerts).toEqual(["projection-halted", "projection-halted"]);
  expect(options.service).toBe("ssl");
});

test("fault 13: numbers that a stream lost and gave to others are noticed, not skipped", async () => {
  const { put, start, log, rows } = await setup();
  const others = await put("s1", request("s1", "one.example"));
  const lost: EventLog = memoryLog(7);
  let current = log;
  // What was never this projection's business counts, too: the numbers behind it are read already.
  const stranger = "evt.a.site.1";
  await log.append("EVENTS", stranger, 0, [entryFor(stranger, "a-1")]);
  const projector = start({
    log: {
      ...log,
      at: (...asked) => current.at(...asked),
      tip: (...asked) => current.tip(...asked),
      read: (...asked) => current.read(...asked),
    },
  });
  await projector.seen(others + 1);
  const [first] = await log.load("EVENTS", "evt.acme.certificate.s1");
  if (!first) throw new Error("nothing was put");
  await lost.append("EVENTS", first.subject, 0, [first]);
  current = lost;
  await expect.poll(() => projector.failure()?.message).toMatch(/and the stream ends at 1/);
  await lost.append("EVENTS", "evt.acme.certificate.s9", 0, [
    { ...first, id: "s9-1", subject: "evt.acme.certificate.s9" },
  ]);
  await expect.poll(() => projector.failure()?.message).toMatch(/expected|ends at/);
  expect(await rows()).toEqual(["s1 one.example"]);
  // Mended in place, it goes on by itself.
  current = log;
  await expect.poll(() => projector.failure()).toBeUndefined();
});

test("connections cut again and again in the middle of batches cost nothing but time", async () => {
  const { put, start, rows, stops, client } = await setup();
  const projector = start({ stepMaxMs: 500, batch: 2 });
  let position = 0;
  for (let i = 0; i < 60; i += 1) {
    position = await put(`s${i}`, request(`s${i}`, "x.example"));
    if (i % 4 > 0) continue;
    await client
      .unsafe(
        "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()",
      )
      .catch(() => undefined);
  }
  await expect.poll(() => projector.position(), { timeout: 30_000 }).toBe(position);
  expect(await rows()).toHaveLength(60);
  expect(await stops()).toEqual([]);
});

test("a database that went away costs nothing but time", async () => {
  const { put, start, rows, stops, client } = await setup();
  const projector = start();
  await projector.seen(await put("s1", request("s1", "one.example")));
  await client.unsafe(
    "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()",
  );
  const position = await put("s2", request("s2", "two.example"));
  await expect.poll(() => projector.position(), { timeout: 30_000 }).toBe(position);
  expect(await rows()).toEqual(["s1 one.example", "s2 two.example"]);
  expect(await stops()).toEqual([]);
});

test("on a real stream a projector survives a killed broker and sees what others wrote meanwhile", async () => {
  const broker = await startNatsServer();
  const nats = await connectNats({ servers: broker.url, name: "test" });
  onTestFinished(async () => {
    await nats.close();
    await broker.stop();
  });
  await apply(nats, topology({ replicas: 1 }), { nowMs: 7 });
  const { put, start, rows } = await setup(jetstreamLog(nats));
  const projector = start({ pollMs: 1_000 });
  await projector.seen(await put("s1", request("s1", "one.example")));
  await broker.kill();
  await broker.restart();
  const position = await put("s2", request("s2", "two.example"));
  await expect.poll(() => projector.position(), { timeout: 30_000 }).toBe(position);
  expect(await rows()).toEqual(["s1 one.example", "s2 two.example"]);
  const started = performance.now();
  await projector.seen(await put("s3", request("s3", "three.example")));
  // The hint wakes it: no waiting for the poll.
  expect(performance.now() - started).toBeLessThan(900);
  expect(await rows()).toHaveLength(3);
});
