/** The event log and its archive on a real broker and a real Postgres, each damaged in turn and mended from the other. */
import { cpSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { ChainCompleted, ChainStarted } from "@chom/proto/chom/scheduler/v1/flows";
import { eventTypes } from "@chom/shared/aggregate/event-types";
import { encodeEvent } from "@chom/shared/event-log/codec";
import { jetstreamLog } from "@chom/shared/event-log/jetstream-log";
import { api, connectNats, type Nats, valueOf } from "@chom/shared/event-log/nats";
import { whileReactorsPause, writeBack } from "@chom/shared/event-log/write-back";
import { Secret } from "@chom/shared/secrets/secret";
import type { App } from "@chom/shared/service/app";
import { openPostgres, type Postgres } from "@chom/shared/service/postgres";
import { type Running, startService } from "@chom/shared/service/start";
import { contextFor, runConsole } from "@chom/shared/testing/console";
import { type Ground, startGround } from "@chom/shared/testing/ground";
import { apply } from "@chom/shared/topology/apply";
import { inboxPrefix } from "@chom/shared/topology/names";
import { topology } from "@chom/shared/topology/topology";
import { afterAll, beforeAll, expect, test } from "vitest";
import { chainList } from "../flows/projections.ts";
import { chains } from "../flows/tables.ts";
import { archiveRpc } from "./archive-rpc.ts";
import { archivedHistory, missingCount, missingRows } from "./archive-store.ts";
import { checkArchive, type Found } from "./check-archive.ts";
import { archiveTick } from "./follow-events.ts";

let ground: Ground;
let scheduler: Running;
let app: App;
let platform: string;
let pool: Postgres;
let superuser: Postgres["sql"];

beforeAll(async () => {
  ground = await startGround();
  await start();
  const url = new Secret(ground.postgres.url.replace(/\/postgres$/, "/chom"));
  pool = openPostgres(url, "test", 1);
  superuser = pool.sql;
});
afterAll(async () => {
  await pool?.close();
  await scheduler?.stop();
  await ground?.stop();
});

async function start() {
  scheduler = await startService(
    {
      name: "scheduler",
      migrations: new URL("../../migrations", import.meta.url),
      cast(given) {
        app = given;
        return { projections: [chainList], rpc: [archiveRpc(app)], ticks: [archiveTick(app)] };
      },
    },
    { ...(await ground.environment("scheduler")), CHOM_LOG_LEVEL: "silent" },
  );
  platform = await contextFor(ground, "platform", { scheduler: scheduler.address });
}

const happened = eventTypes({ ChainStarted, ChainCompleted });
const subjectOf = (id: string) => `evt.acme.chain.${id}`;

/** Appends one event to a chain's history; answers its position. */
async function tell(id: string, eventId: string): Promise<number> {
  const subject = subjectOf(id);
  const last = await app.log.last("EVENTS", subject);
  const started = happened.ChainStarted(ChainStarted.fromPartial({ name: eventId }));
  const event = last ? happened.ChainCompleted(ChainCompleted.fromPartial({})) : started;
  const envelope = { id: eventId, time: new Date("2026-01-01"), source: "scheduler", actor: "ann" };
  const cause = { causationId: "", correlationId: eventId, traceparent: "" };
  const entry = encodeEvent(event, { ...envelope, ...cause, subject }, app.sealer);
  return app.log.append("EVENTS", subject, last?.sequence ?? 0, [entry]);
}

const archived = async (id: string) =>
  (await archivedHistory(app.db, subjectOf(id))).map(({ eventId }) => eventId);
const heads = async (ids: readonly string[]) =>
  Promise.all(
    ids.map(async (id) =>
      (await archivedHistory(app.db, subjectOf(id))).at(-1)?.hash.toString("hex"),
    ),
  );
const logged = async (id: string) =>
  (await app.log.load("EVENTS", subjectOf(id))).map(({ id: eventId }) => eventId);

async function check() {
  const found: Found[] = [];
  for await (const step of checkArchive(app, { complete: false })) {
    if (step.found) found.push(step.found);
  }
  return found;
}
const kindsOf = (found: readonly Found[]) => found.map(({ kind, eventId }) => `${kind} ${eventId}`);

async function* lost() {
  for (const row of await missingRows(app.db, 0, 1_000)) {
    yield { ...row, headersJson: row.headers, body: row.body.toString() };
  }
}
/** As the console does it; answers how many events came back. */
async function repair(): Promise<number> {
  const nats = await as("archivist");
  try {
    const { consumers } = topology({ replicas: 1 });
    return await whileReactorsPause(nats, consumers, () =>
      writeBack(jetstreamLog(nats), lost(), () => {}),
    );
  } finally {
    await nats.close();
  }
}
const untilArchived = async (id: string, count: number) =>
  expect.poll(async () => (await archived(id)).length, { timeout: 20_000 }).toBe(count);

const store = () => join(ground.nats.dir, "js");

/** A copy of the broker's files at one moment, as a snapshot of its disk would have it. */
function copyStore(name: string): string {
  const copy = join(ground.folder, name);
  process.kill(ground.nats.pid, "SIGSTOP");
  cpSync(store(), copy, { recursive: true });
  process.kill(ground.nats.pid, "SIGCONT");
  return copy;
}
async function restoreStore(copy: string): Promise<void> {
  await ground.nats.kill();
  rmSync(store(), { recursive: true });
  cpSync(copy, store(), { recursive: true });
  await ground.nats.restart();
}
async function as(user: "topology" | "archivist"): Promise<Nats> {
  const seed = new Secret(readFileSync(ground.seedFiles[user], "utf8"));
  return connectNats({
    ...{ servers: ground.nats.url, name: user, seed, inboxPrefix: inboxPrefix(user) },
  });
}

test("every event is archived in order, chained by its history, and not even the service may change it", async () => {
  for (const event of ["a1", "a2"]) await tell("a", event);
  await tell("b", "b1");
  await untilArchived("b", 1);
  const rows = await archivedHistory(app.db, subjectOf("a"));
  expect(rows.map(({ eventId, version, sequence }) => [eventId, version, sequence])).toEqual([
    ["a1", 1, 1],
    ["a2", 2, 2],
  ]);
  expect(rows[1]?.previousHash).toEqual(rows[0]?.hash);
  expect(JSON.parse(rows[0]?.headers ?? "")).toMatchObject({ "ce-id": "a1", "chom-actor": "ann" });
  expect(await check()).toEqual([]);
  for (const change of [
    "update scheduler.event_archive set body = ''",
    "delete from scheduler.event_archive",
    "truncate scheduler.event_archive",
  ]) {
    await expect(app.db.execute(change)).rejects.toMatchObject({ cause: { code: "42501" } });
  }
});

test("case 33: another tenant learns nothing of the archive", async () => {
  const acme = await contextFor(ground, "acme", { scheduler: scheduler.address });
  expect((await runConsole(acme, ["archive", "check"])).code).toBe(4);
});

test("a row deleted from the archive is put back, one that was changed is known and mended from the log", async () => {
  const before = await heads(["a", "b"]);
  await superuser`delete from scheduler.event_archive where event_id in ('a1', 'b1')`;
  await superuser`update scheduler.event_archive set body = 'forged' where event_id = 'a2'`;
  const found = await runConsole(platform, ["archive", "check"]);
  expect([found.code, found.out]).toEqual([1, expect.stringMatching(/row-changed.*a2/)]);
  expect(kindsOf(await check()).toSorted()).toEqual([
    "missing-in-archive a1",
    "missing-in-archive b1",
    "row-changed a2",
  ]);
  const mended = await runConsole(platform, ["archive", "complete", "--reason", "a drill"]);
  expect([mended.code, mended.err]).toEqual([0, expect.stringMatching(/agree/)]);
  expect(await heads(["a", "b"])).toEqual(before);
  expect(await check()).toEqual([]);
  // What was found in the place of the row is kept.
  const [kept] = await superuser`select body, decided from scheduler.event_conflicts`;
  expect([String(kept?.["body"]), kept?.["decided"]]).toEqual(["forged", "changed row"]);
});

test("fault 13: a broker that lost its end gets it back at the same positions, and its readers go on", async () => {
  const copy = copyStore("before-c");
  for (let at = 1; at <= 40; at += 1) await tell(`c${at}`, `c${at}-1`);
  await untilArchived("c40", 1);
  const position = await tell("a", "a3");
  await untilArchived("a", 3);
  const chain = await heads(["a", "c1", "c40"]);
  await restoreStore(copy);
  await expect.poll(() => missingCount(app.db), { timeout: 20_000 }).toBe(41);
  expect((await check()).map(({ kind }) => kind)).toEqual(Array(41).fill("missing-in-log"));
  const written = await runConsole(platform, [
    ...["archive", "repair", "--force", "--nats-url", ground.nats.url],
    ...["--seed-file", ground.seedFiles.archivist, "--reason", "a drill"],
  ]);
  expect([written.code, written.err]).toEqual([0, expect.stringMatching(/41 events were written/)]);
  expect((await app.log.last("EVENTS", subjectOf("a")))?.sequence).toBe(position);
  await expect.poll(() => missingCount(app.db), { timeout: 20_000 }).toBe(0);
  expect(await heads(["a", "c1", "c40"])).toEqual(chain);
  expect(await check()).toEqual([]);
  // The projection stands where it stood, and follows what comes next.
  await app.seen("chains", await tell("d", "d1")).catch(() => undefined);
  await expect
    .poll(async () => (await app.db.select().from(chains)).length, { timeout: 20_000 })
    .toBe(43);
  // A second repair finds nothing to do.
  expect(await repair()).toBe(0);
}, 120_000);

test("fault 13: positions that were given to new events meanwhile are told apart by their ids", async () => {
  const copy = copyStore("before-e");
  for (const id of ["e1", "e2", "e3"]) await tell(id, `${id}-1`);
  await untilArchived("e3", 1);
  const chain = await heads(["e1", "e2", "e3"]);
  await restoreStore(copy);
  // The same positions, given to others before anybody noticed.
  for (const id of ["f1", "f2", "f3", "f4"]) await tell(id, `${id}-1`);
  await untilArchived("f4", 1);
  expect(await missingCount(app.db)).toBe(3);
  expect(await repair()).toBe(3);
  await expect.poll(() => missingCount(app.db), { timeout: 20_000 }).toBe(0);
  expect(await heads(["e1", "e2", "e3"])).toEqual(chain);
  expect(await check()).toEqual([]);
  // A reader that had seen the old events at these positions must not skip the new ones: it stands still and says so.
  const [loss] = await superuser`select count(*)::int as count from scheduler.event_log_losses`;
  expect(loss?.["count"]).toBeGreaterThanOrEqual(2);
}, 120_000);

test("a history that went another way after a loss is disputed: nothing is chosen until a person says so", async () => {
  const copy = copyStore("before-g");
  await tell("a", "a4");
  await untilArchived("a", 4);
  await restoreStore(copy);
  await tell("a", "a4-another");
  await expect
    .poll(async () => kindsOf(await check()), { timeout: 20_000 })
    .toEqual(["different a4"]);
  expect(await repair()).toBe(0);
  expect(await archived("a")).toEqual(["a1", "a2", "a3", "a4"]);
  await tell("a", "a5-another");
  const accept = ["archive", "accept-log", subjectOf("a"), "--force", "--json"];
  await expect
    .poll(
      async () => {
        const { n } = (
          await superuser`select count(*)::int n from scheduler.event_conflicts where side = 'log'`
        )[0] as { n: number };
        return n;
      },
      { timeout: 20_000 },
    )
    .toBe(2);
  expect((await runConsole(platform, accept)).json()).toMatchObject({ setAside: 1, archived: 2 });
  expect(await archived("a")).toEqual(["a1", "a2", "a3", "a4-another", "a5-another"]);
  expect(await check()).toEqual([]);
}, 120_000);

test("fault 15: a deleted stream is written anew with the same ids, order and heads", async () => {
  await untilArchived("f4", 1);
  const ids = ["a", "b", "c1", "c40", "e1", "f4"];
  const chain = await heads(ids);
  const stories = await Promise.all(ids.map(logged));
  const admin = await as("topology");
  try {
    valueOf(await api(admin, "STREAM.DELETE.EVENTS"), "delete");
    await apply(admin, topology({ replicas: 1 }), { nowMs: Date.now() });
  } finally {
    await admin.close();
  }
  const total = Number((await superuser`select count(*) n from scheduler.event_archive`)[0]?.["n"]);
  await expect.poll(() => missingCount(app.db), { timeout: 30_000 }).toBe(total);
  expect(await repair()).toBe(total);
  await expect.poll(() => missingCount(app.db), { timeout: 30_000 }).toBe(0);
  expect(await Promise.all(ids.map(logged))).toEqual(stories);
  expect(await heads(ids)).toEqual(chain);
  // Until the new stream's epoch is known to the follower, places are noted under the old one, and then once more.
  await expect.poll(check, { timeout: 30_000 }).toEqual([]);
}, 120_000);
