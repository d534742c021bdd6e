import { existsSync } from "node:fs";
import { jetstream, jetstreamManager } from "@nats-io/jetstream";
import { connect } from "@nats-io/transport-node";
import { expect, onTestFinished, test } from "vitest";
import { isAlive } from "./child-process.ts";
import { startNatsCluster, startNatsServer } from "./nats-server.ts";
import { toStderr } from "./progress.ts";

const minuteMs = 60_000;

test("a killed broker has its acknowledged messages after a restart", {
  timeout: minuteMs,
}, async () => {
  const server = await startNatsServer({ syncAlways: true, progress: toStderr });
  onTestFinished(() => server.stop());
  const before = await connect({ servers: server.url, reconnect: false });
  await (await jetstreamManager(before)).streams.add({ name: "KEPT", subjects: ["kept"] });
  for (let i = 0; i < 10; i += 1) await jetstream(before).publish("kept", String(i));
  const pid = server.pid;
  await server.kill();
  expect(isAlive(pid)).toBe(false);

  await server.restart();
  const after = await connect({ servers: server.url });
  const info = await (await jetstreamManager(after)).streams.info("KEPT");
  await after.close();
  expect(server.pid).not.toBe(pid);
  expect(info.state.messages).toBe(10);
});

test("a stopped broker leaves neither process nor folder, and stops twice", {
  timeout: minuteMs,
}, async () => {
  const server = await startNatsServer();
  const pid = server.pid;
  await server.stop();
  await server.stop();
  expect(isAlive(pid)).toBe(false);
  expect(existsSync(server.dir)).toBe(false);
});

test("extra configuration counts: a broker with users refuses strangers", {
  timeout: minuteMs,
}, async () => {
  const server = await startNatsServer({ config: 'authorization { user: a, password: "b" }' });
  onTestFinished(() => server.stop());
  await expect(connect({ servers: server.url, reconnect: false })).rejects.toThrow(
    /authorization/i,
  );
  await (await connect({ servers: server.url, user: "a", pass: "b" })).close();
});

test("a broken configuration fails with the broker's own words", {
  timeout: minuteMs,
}, async () => {
  await expect(startNatsServer({ config: "no_such_setting: 1" })).rejects.toThrow(
    /no_such_setting/,
  );
});

test("three brokers carry a stream of three replicas", { timeout: minuteMs }, async () => {
  const cluster = await startNatsCluster(3);
  onTestFinished(() => cluster.stop());
  const nc = await connect({ servers: cluster.urls });
  const jsm = await jetstreamManager(nc);
  const made = await jsm.streams.add({ name: "R3", subjects: ["r3"], num_replicas: 3 });
  expect((await jetstream(nc).publish("r3", "x")).seq).toBe(1);
  expect(made.cluster?.replicas).toHaveLength(2);
  await nc.close();
});
