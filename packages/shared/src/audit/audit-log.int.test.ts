/** The audit's chain on a real broker, written by several at once, and spoiled by one who may do anything. */
import { readFileSync } from "node:fs";
import { createIdentities } from "@chom/stack/identities";
import { type NatsServer, startNatsServer } from "@chom/stack/nats-server";
import { scratchFolder } from "@chom/stack/scratch-folder";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { api, connectNats, type Nats, publish, valueOf } from "../event-log/nats.ts";
import { Secret } from "../secrets/secret.ts";
import { createLogger } from "../telemetry/logger.ts";
import { apply } from "../topology/apply.ts";
import { inboxPrefix, type User } from "../topology/names.ts";
import { serverConfig } from "../topology/server-config.ts";
import { topology } from "../topology/topology.ts";
import { auditLog } from "./audit-log.ts";
import type { AuditFacts } from "./chain.ts";
import { readAudit, type Verified, verifyAudit } from "./read-audit.ts";

const table = topology({ replicas: 1 });
const scratch = scratchFolder("audit");
const identities = createIdentities(scratch.path);
const logger = createLogger({ service: "test", level: "silent" });
let server: NatsServer;
let admin: Nats;
let scheduler: Nats;

async function as(user: User): Promise<Nats> {
  const seed = new Secret(readFileSync(identities.seedFiles[user], "utf8"));
  const options = { servers: server.url, name: user, seed, inboxPrefix: inboxPrefix(user) };
  return connectNats(options);
}

beforeAll(async () => {
  server = await startNatsServer({
    config: serverConfig(table, { publicKeys: identities.publicKeys }),
  });
  admin = await as("topology");
  await apply(admin, table, { nowMs: Date.now() });
  scheduler = await as("scheduler");
});
afterAll(async () => {
  await admin?.close();
  await scheduler?.close();
  await server?.stop();
  scratch.remove();
});

const fact = (id: string): AuditFacts => ({
  ...{ id, at: "2026-11-24T12:00:00.000Z", actor: "ann", service: "ssl", action: "/a.b/C" },
  ...{ outcome: "asked", code: "", requestId: "", reason: "because", resources: {} },
});

async function writerAs(user: User) {
  const nats = await as(user);
  onTestFinished(() => nats.close());
  return auditLog(nats, logger, { giveUpMs: 1_500 });
}

async function verified(tenant: string, anchor?: { number: number; hash: string }) {
  let last: Verified | undefined;
  for await (const step of verifyAudit(scheduler, tenant, { anchor })) last = step;
  if (!last) throw new Error("verifying said nothing");
  return last;
}

const bodiesOf = async (tenant: string): Promise<string[]> => {
  const bodies: string[] = [];
  for await (const { body } of readAudit(scheduler, tenant)) bodies.push(body);
  return bodies;
};

/** What somebody with all rights over the broker could do: the stream made anew with other messages. */
async function replace(tenant: string, bodies: readonly string[]): Promise<void> {
  valueOf(await api(admin, "STREAM.DELETE.AUDIT"), "delete");
  await apply(admin, table, { nowMs: Date.now() });
  const writer = await as("ssl");
  for (const body of bodies) valueOf(await publish(writer, `audit.${tenant}`, body), "forge");
  await writer.close();
}

test("services that write at once make one chain, with every entry in it once", async () => {
  const writers = await Promise.all((["ssl", "backup", "credentials"] as const).map(writerAs));
  await Promise.all(
    writers.flatMap((writer, w) =>
      Array.from({ length: 40 }, (_, i) => writer.write("busy", fact(`w${w}-${i}`))),
    ),
  );
  writers[0]?.note("busy", fact("noted"));
  await Promise.all(writers.map((writer) => writer.close()));
  const { head, broken } = await verified("busy");
  expect(broken).toBeUndefined();
  expect(head.number).toBe(121);
  const ids = (await bodiesOf("busy")).join("\n").match(/"id":"[^"]+"/g) ?? [];
  expect(new Set(ids).size).toBe(121);
});

test("case 80: an entry deleted, changed or inserted, or a tail cut off, is found and named", async () => {
  const writer = await writerAs("ssl");
  for (const id of ["a", "b", "c", "d", "e"]) await writer.write("acme", fact(id));
  const { head } = await verified("acme");
  const bodies = await bodiesOf("acme");
  expect([head.number, bodies.length]).toEqual([5, 5]);

  await replace("acme", bodies.toSpliced(2, 1));
  expect((await verified("acme", head)).broken).toEqual({
    number: 3,
    problem: "is missing: entry 4 follows",
  });
  await replace("acme", bodies.with(1, (bodies[1] ?? "").replace('"ann"', '"eve"')));
  expect((await verified("acme", head)).broken).toMatchObject({ number: 2 });
  await replace("acme", bodies.toSpliced(3, 0, bodies[1] ?? ""));
  expect((await verified("acme", head)).broken).toMatchObject({ number: 4 });
  await replace("acme", bodies.slice(0, 3));
  expect((await verified("acme")).broken).toBeUndefined();
  expect((await verified("acme", head)).broken).toEqual({
    number: 4,
    problem: "is missing, and all up to 5",
  });
  await replace("acme", bodies);
  expect((await verified("acme", head)).broken).toBeUndefined();
});

test("entries are refused at once or kept until the broker is back, never dropped", async () => {
  const writer = await writerAs("backup");
  await writer.write("away", fact("before"));
  await server.kill();
  writer.note("away", fact("meanwhile"));
  await expect(writer.write("away", fact("refused"))).rejects.toMatchObject({
    code: "log-unavailable",
  });
  await server.restart();
  await expect.poll(async () => (await bodiesOf("away")).join().includes("meanwhile")).toBe(true);
  expect((await verified("away")).broken).toBeUndefined();
});

test("case 48: the audit can be neither deleted from nor purged, not even by its administrator", async () => {
  const writer = await writerAs("ssl");
  await writer.write("kept", fact("a"));
  for (const verb of ["STREAM.PURGE.AUDIT", "STREAM.MSG.DELETE.AUDIT"]) {
    expect(await api(admin, verb, { seq: 1 }), verb).toHaveProperty("fault");
  }
  expect((await verified("kept")).head.number).toBe(1);
});
