import { startNatsCluster, startNatsServer } from "@chom/stack/nats-server";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { apply } from "../topology/apply.ts";
import { topology } from "../topology/topology.ts";
import { conformsToEventLog, entryFor } from "./conformance.ts";
import type { EventLog } from "./event-log.ts";
import { jetstreamLog } from "./jetstream-log.ts";
import { connectNats, type Nats } from "./nats.ts";

const opened = (log: EventLog | undefined): EventLog => {
  if (!log) throw new Error("the broker did not start");
  return log;
};

for (const replicas of [1, 3] as const) {
  describe(`R${replicas}`, () => {
    let log: EventLog | undefined;
    let close: () => Promise<unknown> = async () => {};
    beforeAll(async () => {
      const broker = replicas === 1 ? await startNatsServer() : await startNatsCluster(3);
      const servers = "urls" in broker ? broker.urls : broker.url;
      const nats = await connectNats({ servers, name: "test" });
      close = async () => {
        await nats.close();
        await broker.stop();
      };
      await apply(nats, topology({ replicas }), { nowMs: Date.now() });
      log = jetstreamLog(nats);
    });
    afterAll(() => close());

    conformsToEventLog(`R${replicas}`, () => opened(log));
  });
}

async function openBroker() {
  const server = await startNatsServer();
  const nats = await connectNats({ servers: server.url, name: "test" });
  onTestFinished(async () => {
    await nats.close();
    await server.stop();
  });
  await apply(nats, topology({ replicas: 1 }), { nowMs: 1 });
  return { server, nats, log: jetstreamLog(nats) };
}

/** Lets the first requests through but swallows their answers. */
function losingAnswers(nats: Nats, count: number): Nats {
  let left = count;
  return new Proxy(nats, {
    get(target, key) {
      if (key !== "request") {
        const value: unknown = Reflect.get(target, key);
        return typeof value === "function" ? value.bind(target) : value;
      }
      return async (...args: Parameters<Nats["request"]>) => {
        const reply = await target.request(...args);
        if (args[0].startsWith("$JS") || left <= 0) return reply;
        left -= 1;
        throw new Error("the answer was lost");
      };
    },
  });
}

test("an append whose answer was lost is stored once and answered", async () => {
  const { nats, log } = await openBroker();
  const one = await jetstreamLog(losingAnswers(nats, 2)).append("EVENTS", "evt.a.site.1", 0, [
    entryFor("evt.a.site.1", "x1"),
  ]);
  expect((await log.load("EVENTS", "evt.a.site.1")).map(({ sequence }) => sequence)).toEqual([one]);

  const batch = ["y1", "y2", "y3"].map((id) => entryFor("evt.a.site.2", id));
  // The second answer is that of the commit.
  const lossy = jetstreamLog(losingAnswers(nats, 4));
  const last = await lossy.append("EVENTS", "evt.a.site.2", 0, batch);
  const stored = await log.load("EVENTS", "evt.a.site.2");
  expect(stored.map(({ id }) => id)).toEqual(["y1", "y2", "y3"]);
  expect(stored.at(-1)?.sequence).toBe(last);
});

test("a broker that is killed and restarted loses no append and ends no call", async () => {
  const { server, log } = await openBroker();
  const subject = "evt.a.site.1";
  let last = 0;
  let isBack = false;
  const crash = (async () => {
    await expect.poll(() => last, { timeout: 30_000 }).toBeGreaterThan(20);
    await server.kill();
    await server.restart();
  })().finally(() => {
    isBack = true;
  });
  let [count, afterwards] = [0, 0];
  while (afterwards < 20) {
    count += 1;
    if (isBack) afterwards += 1;
    last = await log.append("EVENTS", subject, last, [entryFor(subject, `n${count}`)]);
  }
  await crash;
  const stored = await log.load("EVENTS", subject);
  expect(stored.map(({ id }) => id)).toEqual(Array.from({ length: count }, (_, i) => `n${i + 1}`));
});

test("a broker that stays away is log-unavailable, not a hang", { timeout: 40_000 }, async () => {
  const { server, log } = await openBroker();
  await server.kill();
  const entry = entryFor("evt.a.site.1", "x1");
  await expect(log.append("EVENTS", "evt.a.site.1", 0, [entry])).rejects.toMatchObject({
    kind: "transient",
    code: "log-unavailable",
  });
});

test("case 55: an entry the broker finds too large is refused for good", async () => {
  const { nats, log } = await openBroker();
  const huge = entryFor("evt.a.site.1", "x1", {
    body: "x".repeat((nats.info?.max_payload ?? 0) + 1),
  });
  await expect(log.append("EVENTS", "evt.a.site.1", 0, [huge])).rejects.toMatchObject({
    code: "entry-too-large",
  });
});

test("pruned journals leave gaps that reading jumps over", async () => {
  const { nats, log } = await openBroker();
  const ids = Array.from({ length: 600 }, (_, i) => `j${i}`);
  for (const id of ids) {
    const subject = `jrn.a.ssl.${id}`;
    await log.append("JOURNAL", subject, 0, [entryFor(subject, id)]);
  }
  for (const id of ids.slice(1, -1)) {
    await nats.request(
      "$JS.API.STREAM.PURGE.JOURNAL",
      JSON.stringify({ filter: `jrn.a.ssl.${id}` }),
    );
  }
  const { entries, lastSequence } = await log.read("JOURNAL", "jrn.*.ssl.*", 0, 10);
  expect(entries.map(({ id }) => id)).toEqual(["j0", "j599"]);
  expect(lastSequence).toBe(600);
});
