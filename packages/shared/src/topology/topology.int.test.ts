import { createUser } from "@nats-io/nkeys";
import { startNatsCluster, startNatsServer } from "@chom/stack/nats-server";
import { expect, onTestFinished, test } from "vitest";
import { ask, api, connectNats, type Nats, publish, valueOf } from "../event-log/nats.ts";
import { pull } from "../event-log/pull.ts";
import { Secret } from "../secrets/secret.ts";
import { apply } from "./apply.ts";
import { checkTopology, isNewEnough } from "./check.ts";
import { inboxPrefix, type User, users } from "./names.ts";
import { describe, plan, type StreamState } from "./plan.ts";
import { serverConfig } from "./server-config.ts";
import { epochKey, topology } from "./topology.ts";

const table = topology({ replicas: 1 });
const t0 = 1_800_000_000_000;

async function open(url: string, user?: User, seed?: string): Promise<Nats> {
  const nats = await connectNats({
    servers: url,
    name: user ?? "test",
    ...(user && seed ? { seed: new Secret(seed), inboxPrefix: inboxPrefix(user) } : {}),
  });
  onTestFinished(() => nats.close());
  return nats;
}

async function openBroker() {
  const server = await startNatsServer();
  onTestFinished(() => server.stop());
  return { server, nats: await open(server.url) };
}

const epochOf = async (nats: Nats, stream: string): Promise<number> => {
  const info = valueOf(await api<StreamState>(nats, `STREAM.INFO.${stream}`), "info");
  return Number(info.config.metadata?.[epochKey]);
};

test("applying an empty broker creates everything, and again nothing", async () => {
  const { nats } = await openBroker();
  expect((await plan(nats, table)).every(({ problem }) => problem === "missing")).toBe(true);
  const made = await apply(nats, table, { nowMs: t0 });
  expect(made).toHaveLength(table.streams.length + table.consumers.length);
  expect(await plan(nats, table)).toEqual([]);
  expect(await apply(nats, table, { nowMs: t0 + 1 })).toEqual([]);
  for (const user of users) await checkTopology(nats, user);
});

test("a service refuses a broker without topology and names difference and remedy", async () => {
  const { nats } = await openBroker();
  await expect(checkTopology(nats, "ssl")).rejects.toThrow(
    /stream EVENTS is missing.*chom topology apply/,
  );
});

test("a setting changed by hand is named by plan and check, and mended by apply", async () => {
  const { nats } = await openBroker();
  await apply(nats, table, { nowMs: t0 });
  const info = valueOf(await api<StreamState>(nats, "STREAM.INFO.JOBS"), "info");
  const config = { ...info.config, max_msgs_per_subject: 7 };
  valueOf(await api(nats, "STREAM.UPDATE.JOBS", config), "update");
  expect((await plan(nats, table)).map(describe)).toEqual([
    "stream JOBS: max_msgs_per_subject is 7, must be 1",
  ]);
  await expect(checkTopology(nats, "backup")).rejects.toThrow(/max_msgs_per_subject is 7/);
  const epoch = await epochOf(nats, "JOBS");
  expect(await apply(nats, table, { nowMs: t0 + 5 })).toEqual([
    { what: "stream JOBS", did: "updated" },
  ]);
  expect(await epochOf(nats, "JOBS")).toBe(epoch);
  await checkTopology(nats, "backup");
});

test("concurrency belongs to the deployment: apply changes it, services do not mind", async () => {
  const { nats } = await openBroker();
  await apply(nats, table, { nowMs: t0 });
  const wider = topology({ replicas: 1, concurrency: { high: 500 } });
  expect((await plan(nats, wider)).map(({ field }) => field)).toEqual(
    Array.from({ length: 4 }, () => "max_ack_pending"),
  );
  await apply(nats, wider, { nowMs: t0 });
  await checkTopology(nats, "ssl");
});

test("a deleted consumer is named to its owner only; an undeclared one is listed", async () => {
  const { nats } = await openBroker();
  await apply(nats, table, { nowMs: t0 });
  valueOf(await api(nats, "CONSUMER.DELETE.EVENTS.ssl-sites"), "delete");
  await expect(checkTopology(nats, "ssl")).rejects.toThrow(/consumer EVENTS\/ssl-sites is missing/);
  await checkTopology(nats, "backup");
  const stranger = { durable_name: "stranger", ack_policy: "explicit" };
  const body = { stream_name: "EVENTS", config: stranger };
  valueOf(await api(nats, "CONSUMER.DURABLE.CREATE.EVENTS.stranger", body), "create");
  expect((await plan(nats, table)).map(describe)).toEqual([
    "consumer EVENTS/stranger is undeclared",
    "consumer EVENTS/ssl-sites is missing",
  ]);
});

test("case 51: a recreated journal gets a higher epoch, even when the clock went back", async () => {
  const { nats } = await openBroker();
  await apply(nats, table, { nowMs: t0 });
  expect(await epochOf(nats, "JOURNAL")).toBe(t0);
  valueOf(await api(nats, "STREAM.DELETE.JOURNAL"), "delete");
  await apply(nats, table, { nowMs: t0 - 60_000 });
  expect(await epochOf(nats, "JOURNAL")).toBeGreaterThan(t0);
  expect(await epochOf(nats, "EVENTS")).toBe(t0);
});

test("a reactor added later starts behind the history, unless it is backfilled", async () => {
  const { nats } = await openBroker();
  const late = table.consumers.filter(({ name }) =>
    /^(ssl-sites|provisioning-domains)$/.test(name),
  );
  const without = { ...table, consumers: table.consumers.filter((each) => !late.includes(each)) };
  await apply(nats, without, { nowMs: t0 });
  valueOf(await publish(nats, "evt.acme.site.old", "old"), "publish");
  await apply(nats, table, { nowMs: t0, backfill: ["EVENTS/provisioning-domains"] });
  valueOf(await publish(nats, "evt.acme.site.new", "new"), "publish");
  const first = async (consumer: string) =>
    (await pull(nats, { stream: "EVENTS", consumer, batch: 1, waitMs: 1_000 })).map(
      ({ body }) => body,
    );
  expect(await first("ssl-sites")).toEqual(["new"]);
  expect(await first("provisioning-domains")).toEqual(["old"]);
  expect(await plan(nats, table)).toEqual([]);
});

test("three brokers take the table with three replicas", async () => {
  const cluster = await startNatsCluster(3);
  onTestFinished(() => cluster.stop());
  const nats = await open(cluster.urls[0] ?? "");
  const replicated = topology({ replicas: 3 });
  await apply(nats, replicated, { nowMs: t0 });
  expect(await plan(nats, replicated)).toEqual([]);
  await checkTopology(nats, "ssl");
});

test("servers before 2.14 are too old", () => {
  expect(["2.9.10", "2.13.99", "1.99.0", "", "x"].map(isNewEnough)).toEqual([
    false,
    false,
    false,
    false,
    false,
  ]);
  expect(["2.14.0", "2.14.5", "2.15.1-beta", "3.0.0"].every(isNewEnough)).toBe(true);
});

/** A broker with all users, and a connection per user. */
async function openSecured() {
  const keys = Object.fromEntries(users.map((user) => [user, createUser()]));
  const publicKeys = Object.fromEntries(users.map((user) => [user, keys[user]?.getPublicKey()]));
  const config = serverConfig(table, { publicKeys } as Parameters<typeof serverConfig>[1]);
  const server = await startNatsServer({ config });
  onTestFinished(() => server.stop());
  const as = (user: User) =>
    open(server.url, user, new TextDecoder().decode(keys[user]?.getSeed()));
  await apply(await as("topology"), table, { nowMs: t0 });
  return { server, as };
}

const denied = { code: "log-forbidden" };
const forbidden = (nats: Nats, subject: string) =>
  expect(ask(nats, subject, "{}", { timeoutMs: 1_000 }), subject).rejects.toMatchObject(denied);

test("every service may check the topology with its own permissions", async () => {
  const { as } = await openSecured();
  for (const user of ["backup", "provisioning", "ssl", "credentials", "scheduler"] as const) {
    await checkTopology(await as(user), user);
  }
});

test("case 47: a family writes its own subjects and pulls its own work, and nothing else", async () => {
  const { as } = await openSecured();
  const ssl = await as("ssl");
  const own = [
    "evt.a.certificate.1",
    "jrn.a.ssl.1",
    "job.ssl.high.a.1",
    "quar.ssl.sites",
    "audit.a",
  ];
  for (const subject of own) valueOf(await publish(ssl, subject, "{}"), subject);
  valueOf(await publish(ssl, "$KV.leases.a.site.1", "{}"), "lease");
  const work = await pull(ssl, { stream: "JOBS", consumer: "ssl-high", batch: 1, waitMs: 1_000 });
  expect(work.map(({ subject }) => subject)).toEqual(["job.ssl.high.a.1"]);
  await work[0]?.ackSure();
  for (const subject of [
    "evt.a.site.1",
    "evt.a.backups.1",
    "jrn.a.backup.1",
    "job.backup.high.a.1",
    "sched.backup.a.1",
    "quar.backup.x",
    "$KV.snapshots.backup.x",
    "$JS.API.CONSUMER.MSG.NEXT.JOBS.backup-high",
    "$JS.API.CONSUMER.INFO.EVENTS.provisioning-domains",
    "$JS.ACK.JOBS.backup-high.1.1.1.1.1",
  ]) {
    await forbidden(ssl, subject);
  }
});

test("case 47, 48: no service may create, change, purge, delete or restore streams and consumers", async () => {
  const { as } = await openSecured();
  for (const user of ["ssl", "scheduler", "dashboard"] as const) {
    const nats = await as(user);
    for (const verb of [
      "STREAM.CREATE.X",
      "STREAM.UPDATE.EVENTS",
      "STREAM.DELETE.EVENTS",
      "STREAM.PURGE.JOURNAL",
      "STREAM.MSG.DELETE.EVENTS",
      "STREAM.RESTORE.EVENTS",
      "STREAM.SNAPSHOT.EVENTS",
      "CONSUMER.CREATE.EVENTS.x",
      "CONSUMER.DURABLE.CREATE.EVENTS.x",
      "CONSUMER.DELETE.JOBS.ssl-high",
    ]) {
      await forbidden(nats, `$JS.API.${verb}`);
    }
    await forbidden(nats, "$SYS.REQ.SERVER.PING");
  }
});

test("case 47: nobody listens to answers or subjects of others", async () => {
  const { as } = await openSecured();
  const ssl = await as("ssl");
  for (const subject of [
    "_INBOX_backup.>",
    "_INBOX.>",
    ">",
    "evt.>",
    "live.jrn.*.backup.*",
    "wake.job.backup.>",
  ]) {
    const error = await new Promise((resolve) => {
      ssl.subscribe(subject, { callback: (problem) => resolve(problem) });
    });
    expect(String(error), subject).toMatch(/permissions violation/i);
  }
});

test("the pruner empties a journal, and the events of the domain even the admin cannot purge", async () => {
  const { as } = await openSecured();
  const [ssl, pruner, admin] = [await as("ssl"), await as("pruner"), await as("topology")];
  valueOf(await publish(ssl, "jrn.a.ssl.1", "{}"), "publish");
  const purged = await api<{ purged: number }>(pruner, "STREAM.PURGE.JOURNAL", {
    filter: "jrn.a.ssl.1",
  });
  expect(valueOf(purged, "purge").purged).toBe(1);
  await forbidden(pruner, "jrn.a.ssl.1");
  expect(await api(admin, "STREAM.PURGE.EVENTS")).toHaveProperty("fault");
});
