import { startNatsServer } from "@chom/stack/nats-server";
import { expect, onTestFinished, test } from "vitest";
import { connectNats } from "../event-log/nats.ts";
import { apply } from "../topology/apply.ts";
import { topology } from "../topology/topology.ts";
import { claims } from "./claims.ts";

test("of many who want a free key one gets it, keeps it, and may free it", async () => {
  const server = await startNatsServer();
  const nats = await connectNats({ servers: server.url, name: "test" });
  onTestFinished(async () => {
    await nats.close();
    await server.stop();
  });
  await apply(nats, topology({ replicas: 1 }), { nowMs: Date.now() });
  const { read, take, drop } = claims(nats);
  const key = "claim.acme.backup.0123";
  expect(await read(key)).toEqual({ owner: undefined, revision: 0 });
  const owners = Array.from({ length: 10 }, (_, index) => `job-${index}`);
  const got = await Promise.all(owners.map((owner) => take(key, owner, 0)));
  expect(got.filter(Boolean)).toHaveLength(1);
  const { owner = "", revision } = await read(key);
  expect(owners[got.indexOf(true)]).toBe(owner);
  await drop(key, "job-x");
  expect((await read(key)).owner).toBe(owner);
  expect(await take(key, "job-y", revision)).toBe(true);
  expect(await take(key, "job-z", revision)).toBe(false);
  await drop(key, "job-y");
  const freed = await read(key);
  expect(freed.owner).toBeUndefined();
  expect(await take(key, "job-z", freed.revision)).toBe(true);
  expect((await read(key)).owner).toBe("job-z");
}, 30_000);
