/** Schedules on a real broker: replicas that look at the same moment record each tick once. */
import {
  MisfirePolicy,
  OverlapPolicy,
  ScheduleSpec,
} from "@chom/proto/chom/scheduler/v1/schedules";
import { handleCommand, loadAggregate } from "@chom/shared/event-log/aggregates";
import { decodeEntry } from "@chom/shared/event-log/codec";
import { jetstreamLog } from "@chom/shared/event-log/jetstream-log";
import { connectNats, type Nats } from "@chom/shared/event-log/nats";
import type { App } from "@chom/shared/service/app";
import { quickTopology } from "@chom/shared/testing/broker-engine";
import { plainSealer } from "@chom/shared/testing/memory-engine";
import { apply } from "@chom/shared/topology/apply";
import { eventSubject } from "@chom/shared/topology/subjects";
import { type NatsServer, startNatsServer } from "@chom/stack/nats-server";
import { afterAll, beforeAll, expect, test } from "vitest";
import { advance, tickId } from "./advance.ts";
import { ledgerKind, tickEvents } from "./ledger.ts";
import { schedule } from "./schedule.ts";

const tenant = "acme";
const start = Date.UTC(2026, 2, 28);
let server: NatsServer;
const connections: Nats[] = [];

beforeAll(async () => {
  server = await startNatsServer({});
  const nats = await connect();
  await apply(nats, quickTopology(), { nowMs: Date.now() });
}, 60_000);
afterAll(async () => {
  for (const nats of connections) await nats.close();
  await server?.stop();
});

async function connect(): Promise<Nats> {
  const nats = await connectNats({ servers: server.url, name: "test" });
  connections.push(nats);
  return nats;
}

/** As much of an App as schedules need, on a connection and a clock of its own. */
async function replica(now: () => number): Promise<App> {
  const log = jetstreamLog(await connect());
  const histories = { log, sealer: plainSealer, source: "scheduler", now: () => new Date(now()) };
  const app: Partial<App> = {
    name: "scheduler",
    log,
    sealer: plainSealer,
    now: histories.now,
    load: (aggregate, of, id) => loadAggregate(histories, aggregate, of, id),
    handle: (of, id, ...[command, input, cause]) =>
      handleCommand(histories, { of, id, command, input, cause }),
  };
  // The rest is no business of a schedule's.
  return app as App;
}

async function ledgerOf(app: App, scheduleId: string) {
  const entries = await app.log.load("EVENTS", eventSubject(tenant, ledgerKind, scheduleId));
  return entries.flatMap((entry) => decodeEntry(tickEvents, entry, app.sealer) ?? []);
}

test("three replicas with clocks apart record every tick of a night of changing clocks once", async () => {
  let nowMs = start;
  // None of them is right, and they look whenever they like.
  const replicas = await Promise.all([0, 350, -700].map((off) => replica(() => nowMs + off)));
  const [first] = replicas as [App];
  const scheduleId = "berlin";
  const spec = ScheduleSpec.fromPartial({
    ...{ name: scheduleId, cron: "*/10 * * * *", zone: "Europe/Berlin", jobName: "monitor" },
    ...{ misfire: MisfirePolicy.ALL, overlap: OverlapPolicy.ALLOW },
  });
  const cause = { tenant, actor: "test", eventSeed: "seed" };
  await first.handle(schedule, scheduleId, "create", spec, cause);
  const hours = 36;
  for (let at = 0; nowMs < start + hours * 3_600_000; at += 1) {
    // Steps from seconds to an hour, the same in every run.
    nowMs += ((at * 7_919) % 3_600) * 1_000;
    await Promise.all(replicas.map((app) => advance(app, { tenant, scheduleId })));
  }
  const fired = (await ledgerOf(first, scheduleId)).map(
    ({ data }) => data as { nominalAt: Date; jobId: string },
  );
  const planned = fired.map(({ nominalAt }) => nominalAt.getTime());
  const expected = Array.from({ length: planned.length }, (_, n) => start + (n + 1) * 600_000);
  expect(planned).toEqual(expected);
  expect(planned.length).toBeGreaterThan(hours * 6 - 2);
  expect(new Set(fired.map(({ jobId }) => jobId)).size).toBe(fired.length);
  expect(fired[0]?.jobId).toBe(tickId({ scheduleId, version: 1 }, new Date(start + 600_000)));
}, 60_000);

test("the input of a schedule's job is not stored in clear", async () => {
  const app = await replica(() => start);
  const inputJson = '{"reason":"known to nobody"}';
  const spec = ScheduleSpec.fromPartial({ name: "sealed", jobName: "backup.clean", inputJson });
  const cause = (eventSeed: string) => ({ tenant, actor: "test", eventSeed });
  await app.handle(schedule, "sealed", "create", spec, cause("sealed-a"));
  await app.handle(schedule, "sealed", "change", { ...spec, everySeconds: 60n }, cause("sealed-b"));
  const stored = await app.log.load("EVENTS", eventSubject(tenant, "schedule", "sealed"));
  expect(stored.map(({ body }) => body).join("")).not.toContain("inputJson");
  const { state } = await app.load(schedule, tenant, "sealed");
  expect(state.spec).toMatchObject({ inputJson, everySeconds: 60n });
});

test("a schedule that was changed has no ticks of its old plan any more", async () => {
  let nowMs = start;
  const app = await replica(() => nowMs);
  const scheduleId = "changed";
  const spec = ScheduleSpec.fromPartial({
    name: scheduleId,
    everySeconds: 60n,
    jobName: "monitor",
  });
  const cause = (eventSeed: string) => ({ tenant, actor: "test", eventSeed });
  await app.handle(schedule, scheduleId, "create", spec, cause("a"));
  nowMs += 60_000;
  await advance(app, { tenant, scheduleId });
  nowMs += 30_000;
  await app.handle(schedule, scheduleId, "change", { ...spec, everySeconds: 3_600n }, cause("b"));
  nowMs += 600_000;
  await advance(app, { tenant, scheduleId });
  expect(await ledgerOf(app, scheduleId)).toHaveLength(1);
  nowMs = start + 3_600_000;
  await advance(app, { tenant, scheduleId });
  const [, second] = await ledgerOf(app, scheduleId);
  expect(second).toMatchObject({ name: "ScheduleFired", data: { version: 2 } });
});
