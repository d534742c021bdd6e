import { type NatsServer, startNatsServer } from "@chom/stack/nats-server";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { connectNats, getFromLeader, type Nats } from "../event-log/nats.ts";
import { apply } from "../topology/apply.ts";
import { topology } from "../topology/topology.ts";
import { type Clock, systemClock } from "./clock.ts";
import { jetstreamQueue } from "./jetstream-queue.ts";
import type { Queue } from "./job.ts";
import type { Delivery, WorkQueue } from "./work-queue.ts";

let server: NatsServer;
let nats: Nats;
let work: WorkQueue;
beforeAll(async () => {
  server = await startNatsServer();
  nats = await connectNats({ servers: server.url, name: "test" });
  await apply(nats, topology({ replicas: 1 }), { nowMs: Date.now() });
  work = jetstreamQueue(nats, "backup", systemClock);
});
afterAll(async () => {
  work?.close();
  await nats?.close();
  await server?.stop();
});

const item = (jobId: string, queue: Queue = "default") =>
  ({ family: "backup", queue, tenant: "acme", jobId }) as const;
const takeOne = async (): Promise<Delivery> => {
  const [taken] = await work.take(1, AbortSignal.timeout(5_000));
  if (!taken) throw new Error("nothing came");
  return taken;
};
const nothingComes = async () => expect(await work.take(1, AbortSignal.timeout(300))).toEqual([]);

test("items come high before default before low, whatever their order of arrival", async () => {
  await work.publish(item("l", "low"), 1);
  await work.publish(item("d"), 2);
  await work.publish(item("h", "high"), 3);
  const taken = await work.take(3, AbortSignal.timeout(5_000));
  expect(taken.map(({ jobId }) => jobId)).toEqual(["h", "d", "l"]);
  await Promise.all(taken.map((delivery) => delivery.ack()));
  await nothingComes();
});

test("acknowledgements of one moment share an answer, and all of them count when it comes", async () => {
  const names = Array.from({ length: 30 }, (_, nth) => `many-${nth}`);
  await Promise.all(names.map((name, nth) => work.publish(item(name), 100 + nth)));
  const taken: Delivery[] = [];
  while (taken.length < names.length) {
    taken.push(...(await work.take(names.length, AbortSignal.timeout(5_000))));
  }
  await nats.flush();
  const before = nats.stats().inMsgs;
  await Promise.all(taken.map((delivery) => delivery.ack()));
  expect(nats.stats().inMsgs - before).toBe(1);
  const left = await Promise.all(names.map((name) => work.presence(item(name))));
  expect(new Set(left)).toEqual(new Set(["nothing"]));
});

test("the same cause twice is one item", async () => {
  await work.publish(item("twice"), 10);
  await work.publish(item("twice"), 10);
  await (await takeOne()).ack();
  await nothingComes();
});

test("an item is put in again only when none is waiting or in flight", async () => {
  await work.publish(item("swept"), 20);
  expect(await work.publishIfAbsent(item("swept"), 20)).toBe(false);
  const delivery = await takeOne();
  expect(await work.publishIfAbsent(item("swept"), 20)).toBe(false);
  expect(await work.presence(item("swept"))).toBe("item");
  await delivery.ack();
  expect(await work.presence(item("swept"))).toBe("nothing");
  // The subject's last sequence is 0 again once the item is acknowledged: measured on nats-server 2.15.1.
  expect(await work.publishIfAbsent(item("swept"), 20)).toBe(true);
  await (await takeOne()).ack();
});

test("a scheduled item comes when it is due, and its schedule is gone then", async () => {
  const at = new Date(Date.now() + 1_500);
  await work.schedule(item("later"), at, 30);
  expect(await work.presence(item("later"))).toBe("schedule");
  const delivery = await takeOne();
  expect(delivery.jobId).toBe("later");
  expect(Date.now()).toBeGreaterThanOrEqual(at.getTime());
  await delivery.ack();
  expect(await work.presence(item("later"))).toBe("nothing");
});

test("a later schedule of the same job replaces the one before", async () => {
  await work.schedule(item("moved"), new Date(Date.now() + 3_600_000), 40);
  await work.schedule(item("moved"), new Date(Date.now() - 1_000), 41);
  await (await takeOne()).ack();
  expect(await work.presence(item("moved"))).toBe("nothing");
});

test("no item waits for the next poll because its wake-up came before it could be had", async () => {
  // Polls never come here. Some of so many items are announced too early on any broker: see known-empty.ts.
  const noPoll: Clock = {
    ...systemClock,
    after: (delayMs, call) => (delayMs < 1_000 ? systemClock.after(delayMs, call) : () => {}),
  };
  const waiting = jetstreamQueue(nats, "ssl", noPoll);
  onTestFinished(waiting.close);
  for (let nth = 0; nth < 3_000; nth += 1) {
    const taking = waiting.take(1, AbortSignal.timeout(20_000));
    // It looks into three queues before it waits.
    for (let look = 0; look < 4; look += 1) await nats.flush();
    await work.publish({ ...item(`soon-${nth}`), family: "ssl" }, nth);
    const [taken] = await taking;
    expect(taken?.jobId).toBe(`soon-${nth}`);
    await taken?.ack();
  }
});

test("an item that is refused for a moment comes back", async () => {
  await work.publish(item("again"), 50);
  (await takeOne()).nak(100);
  const second = await takeOne();
  expect(second.deliveries).toBe(2);
  await second.ack();
});

test("an item that is put away is in quarantine with its reason, and no longer in the queue", async () => {
  await work.publish(item("ghost"), 55);
  await (await takeOne()).quarantine("job-not-found", "no such job was ever queued");
  await nothingComes();
  expect(await work.presence(item("ghost"))).toBe("nothing");
  const query = { last_by_subj: "quar.backup.work" };
  const stored = await getFromLeader(nats, "QUARANTINE", query);
  expect(stored?.header("chom-quarantined-subject")).toBe("job.backup.default.acme.ghost");
  expect(stored?.header("chom-quarantined-code")).toBe("job-not-found");
});

test("taking goes on after the broker was killed and started again", async () => {
  const coming = work
    .take(1, AbortSignal.timeout(20_000))
    .catch(() => work.take(1, AbortSignal.timeout(20_000)));
  await server.kill();
  await server.restart();
  await work.publish(item("survivor"), 60).catch(() => work.publish(item("survivor"), 60));
  const [delivery] = await coming;
  expect(delivery?.jobId).toBe("survivor");
  await delivery?.ack();
});
