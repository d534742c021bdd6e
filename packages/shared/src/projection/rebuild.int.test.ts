/** Building a read model again while it is served, on a real Postgres. */
import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { CertificateDropped, CertificateRequested } from "@chom/proto/chom/ssl/v1/events";
import { type Postgres as Server, startPostgres } from "@chom/stack/postgres";
import { eq } from "drizzle-orm";
import { integer, pgSchema, primaryKey, text } from "drizzle-orm/pg-core";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { eventTypes } from "../aggregate/event-types.ts";
import { encodeEvent } from "../event-log/codec.ts";
import { memoryLog } from "../event-log/memory-log.ts";
import { keyring } from "../secrets/keyring.ts";
import { Secret } from "../secrets/secret.ts";
import { openPostgres } from "../service/postgres.ts";
import { createLogger } from "../telemetry/logger.ts";
import { checkpointTables } from "./checkpoint-tables.ts";
import { type Projection, projection } from "./projection.ts";
import { type Projector, startProjector } from "./projector.ts";
import { groupsOf, rebuildGroup, type RebuildStep } from "./rebuild.ts";
import { shadowSchema } from "./shadow-tables.ts";
import { sharedTablesSql } from "./shared-tables.sql.ts";

let server: Server | undefined;
beforeAll(async () => {
  server = await startPostgres();
});
afterAll(() => server?.stop());

const happened = eventTypes({ CertificateRequested, CertificateDropped });
const wanted = pgSchema("ssl").table(
  "wanted",
  {
    siteId: text("site_id").notNull(),
    domain: text("domain").notNull(),
    count: integer("count").notNull(),
  },
  (table) => [primaryKey({ columns: [table.siteId] })],
);
const told = pgSchema("ssl").table("told", { siteId: text("site_id").primaryKey() });

const wantedList = (past?: NonNullable<Projection["rebuild"]["past"]>): Projection =>
  projection({
    name: "wanted-list",
    source: { stream: "EVENTS", aggregate: "certificate" },
    rebuild: { tables: [wanted], beside: [told], ...(past ? { past } : {}) },
    from: happened,
    on: {
      async CertificateRequested({ domain }, { id }, tx) {
        await tx.insert(told).values({ siteId: id }).onConflictDoNothing();
        await tx
          .insert(wanted)
          .values({ siteId: id, domain, count: 1 })
          .onConflictDoUpdate({ target: wanted.siteId, set: { domain, count: 2 } });
      },
      CertificateDropped: (_, { id }, tx) => tx.delete(wanted).where(eq(wanted.siteId, id)),
    },
  });

let databases = 0;
async function setup() {
  if (!server) throw new Error("no server");
  const name = `rebuild${databases++}`;
  const url = await server.createDatabase(name);
  const postgres = openPostgres(new Secret(url), "ssl", 4);
  const { sql, db } = postgres;
  await sql`create schema ssl`;
  for (const statement of sharedTablesSql("ssl")) await sql.unsafe(statement);
  await sql`create table ssl.wanted (site_id text primary key, domain text not null, count integer not null)`;
  await sql`create table ssl.told (site_id text primary key)`;
  const log = memoryLog(7);
  const sealer = keyring([{ keyId: "k", key: new Secret(randomBytes(32)) }], randomBytes);
  const logger = createLogger({ service: "test", level: "silent" });
  const options = { service: "ssl", db, log, sealer, logger };
  const rebuilding = {
    ...options,
    shadow: postgres.elsewhere(shadowSchema("ssl")),
    exclusively: postgres.exclusively,
  };
  const running: Projector[] = [];
  onTestFinished(async () => {
    await Promise.all(running.map((each) => each.stop()));
    await postgres.close();
  });
  const counts = new Map<string, number>();
  async function put(siteId: string, domain: string): Promise<number> {
    const subject = `evt.acme.certificate.${siteId}`;
    const next = (counts.get(siteId) ?? 0) + 1;
    counts.set(siteId, next);
    const event = happened.CertificateRequested(
      CertificateRequested.fromPartial({ siteId, domain }),
    );
    const envelope = {
      id: `${siteId}-${next}`,
      time: new Date(),
      source: "ssl",
      actor: "a",
      subject,
    };
    const cause = { causationId: "", correlationId: "", traceparent: "" };
    const last = (await log.last("EVENTS", subject))?.sequence ?? 0;
    return log.append("EVENTS", subject, last, [
      encodeEvent(event, { ...envelope, ...cause }, sealer),
    ]);
  }
  const start = (list: Projection) => {
    const projector = startProjector(list, { ...options, pollMs: 50 });
    running.push(projector);
    return projector;
  };
  const rows = async () => [...(await sql`select * from ssl.wanted order by site_id`)];
  const done: RebuildStep[] = [];
  const run = (list: Projection, signal?: AbortSignal) =>
    rebuildGroup(
      rebuilding,
      [list],
      (step) => void (step.phase === "done" && done.push(step)),
      signal,
    );
  const schemas = async () =>
    (await sql`select nspname from pg_namespace where nspname = 'ssl_rebuild'`).length;
  return { sql, db, put, start, rows, run, done, schemas, log, rebuilding };
}

test("a rebuild of what is right changes no row, one of what is wrong exactly the wrong rows", async () => {
  const { put, start, rows, run, done, sql, schemas } = await setup();
  const list = wantedList();
  const projector = start(list);
  for (const site of ["s1", "s2", "s3"]) await put(site, `${site}.example`);
  const position = await put("s1", "again.example");
  await expect.poll(() => projector.position()).toBe(position);
  const right = await rows();
  await run(list);
  expect(done.at(-1)).toMatchObject({ rowsChanged: 0, rowsTotal: 3 });
  await sql`delete from ssl.wanted where site_id = 's1'`;
  await sql`update ssl.wanted set domain = 'wrong' where site_id = 's2'`;
  await sql`insert into ssl.wanted values ('ghost', 'x', 9)`;
  await sql`delete from ssl.told`;
  await run(list);
  expect(done.at(-1)).toMatchObject({ rowsChanged: 3, rowsTotal: 3 });
  expect(await rows()).toEqual(right);
  // What is written beside, like an outbox, is not written twice.
  expect(await sql`select * from ssl.told`).toHaveLength(0);
  expect(await schemas()).toBe(0);
});

test("fault 29: events that come while it is rebuilt are in it, once, and readers never see an empty table", async () => {
  const { put, start, rows, run, done, sql } = await setup();
  const list = wantedList();
  const projector = start(list);
  for (let at = 0; at < 120; at += 1) await put(`s${at}`, "x.example");
  await expect.poll(() => projector.position(), { timeout: 60_000 }).toBe(120);
  await sql`truncate ssl.wanted`;
  await run(list);
  let isDone = false;
  let fewest = Number.POSITIVE_INFINITY;
  const reading = (async () => {
    for (; !isDone; await sleep(1)) fewest = Math.min(fewest, (await rows()).length);
  })();
  const writing = (async () => {
    for (let at = 120; !isDone; at += 1) {
      await put(`s${at}`, "x.example");
      await sleep(10);
    }
  })();
  try {
    await run(list);
    await run(list);
  } finally {
    isDone = true;
    await Promise.all([reading, writing]);
  }
  expect(fewest).toBeGreaterThanOrEqual(120);
  expect(done.map(({ rowsChanged }) => rowsChanged)).toEqual([120, 0, 0]);
  const position = await put("last", "x.example");
  await expect.poll(() => projector.position(), { timeout: 60_000 }).toBe(position);
  const twice = (await rows()).filter(({ count }) => count !== 1);
  expect(twice).toEqual([]);
  expect(await rows()).toHaveLength(position);
}, 180_000);

test("a rebuild that was cut short has changed nothing, and the next one starts over", async () => {
  const { put, start, rows, run, sql, rebuilding } = await setup();
  const list = wantedList();
  const projector = start(list);
  const position = await put("s1", "one.example");
  await expect.poll(() => projector.position()).toBe(position);
  await sql`update ssl.wanted set domain = 'wrong'`;
  await expect(run(list, AbortSignal.abort(new Error("the caller left")))).rejects.toThrow(/left/);
  expect((await rows())[0]).toMatchObject({ domain: "wrong" });
  // As a killed process leaves it.
  await sql`create schema ssl_rebuild`;
  await sql`create table ssl_rebuild.wanted (odd integer)`;
  await run(list);
  expect((await rows())[0]).toMatchObject({ domain: "one.example" });
  await rebuilding.exclusively("rebuild", async () => {
    await expect(run(list)).rejects.toMatchObject({ code: "rebuild-running" });
  });
});

test("a halted projection and forgotten stops are right again after a rebuild", async () => {
  const { put, start, run, sql, db } = await setup();
  const list = wantedList();
  const projector = start(list);
  await put("s1", "one.example");
  await expect.poll(() => projector.position()).toBe(1);
  const { checkpoints, stops } = checkpointTables("ssl");
  await db.update(checkpoints).set({ streamEpoch: 1 });
  await db.insert(stops).values({
    ...{ projection: list.name, subject: "evt.acme.certificate.s1", sequence: 1, eventId: "e" },
    ...{ eventType: "t", code: "c", message: "m" },
  });
  await expect.poll(() => projector.failure()?.code).toBe("checkpoint-mismatch");
  await run(list);
  await expect.poll(() => projector.failure()).toBeUndefined();
  expect(await sql`select * from ssl.projection_stops`).toHaveLength(0);
  await expect.poll(() => projector.position()).toBe(1);
});

test("a history that this build cannot read keeps what is served", async () => {
  const { put, start, rows, run, sql } = await setup();
  const list = wantedList();
  const projector = start(list);
  await put("s1", "x.example");
  await expect.poll(() => projector.position()).toBe(1);
  const cannot = () => Promise.reject(new TypeError("never heard of it"));
  const other: Projection = { ...list, on: { ...list.on, CertificateRequested: cannot } };
  await expect(run(other)).rejects.toMatchObject({ code: "rebuild-incomplete" });
  expect(await rows()).toHaveLength(1);
  expect(await sql`select * from ssl.projection_stops`).toHaveLength(0);
});

test("a rebuild needs no connection that others of the service wait for it with", async () => {
  const { put, start, rows, run, db, sql } = await setup();
  const list = wantedList();
  const projector = start(list);
  await put("s1", "x.example");
  await expect.poll(() => projector.position()).toBe(1);
  await sql`update ssl.wanted set domain = 'wrong'`;
  const isDone = Promise.withResolvers<void>();
  // All connections of the pool but the one that the rebuild needs.
  const busy = [1, 2, 3].map(() => db.transaction(() => isDone.promise));
  await run(list);
  isDone.resolve();
  await Promise.all(busy);
  expect(await rows()).toMatchObject([{ domain: "x.example" }]);
});

test("what the stream no longer has is told first, and no checkpoint remembers its numbers", async () => {
  const { put, start, run, rows, db, log } = await setup();
  await put("old", "old.example");
  const [old] = await log.load("EVENTS", "evt.acme.certificate.old");
  if (!old) throw new Error("nothing was put");
  const list = wantedList(async function* () {
    yield [{ ...old, id: "past-1", sequence: 900, subject: "evt.acme.certificate.past" }];
  });
  const projector = start(list);
  await expect.poll(() => projector.position()).toBe(1);
  await run(list);
  expect((await rows()).map(({ site_id }) => site_id)).toEqual(["old", "past"]);
  const [checkpoint] = await db.select().from(checkpointTables("ssl").checkpoints);
  expect(checkpoint).toMatchObject({ sequence: 1, eventSequence: 1, eventId: "old-1" });
});

test("projections that share a table are rebuilt together", () => {
  const other = { ...wantedList(), name: "other" };
  const apart = { ...wantedList(), name: "apart", rebuild: { tables: [told] } };
  const names = (wish: string[]) =>
    groupsOf([wantedList(), other, apart], wish).map((group) => group.map(({ name }) => name));
  expect(names([])).toEqual([["wanted-list", "other"], ["apart"]]);
  expect(names(["other"])).toEqual([["wanted-list", "other"]]);
});
