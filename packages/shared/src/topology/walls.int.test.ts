/** Every wall of the permission matrix, tried on a real broker with the key of each user in turn. */
import { readFileSync } from "node:fs";
import { createIdentities } from "@chom/stack/identities";
import { type NatsServer, startNatsCluster, startNatsServer } from "@chom/stack/nats-server";
import { scratchFolder } from "@chom/stack/scratch-folder";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { api, connectNats, type Nats, publish, valueOf } from "../event-log/nats.ts";
import { Secret } from "../secrets/secret.ts";
import { jetstreamLog } from "../event-log/jetstream-log.ts";
import { pull } from "../event-log/pull.ts";
import { apply } from "./apply.ts";
import { inboxPrefix, type User, users } from "./names.ts";
import { permissionMatrix } from "./permissions.ts";
import { serverConfig } from "./server-config.ts";
import { subjectMatches } from "./subjects.ts";
import { topology } from "./topology.ts";

const table = topology({ replicas: 1 });
const matrix = permissionMatrix(table);
const scratch = scratchFolder("walls");
const identities = createIdentities(scratch.path);
let server: NatsServer;

async function as(user: User, servers: string = server.url): Promise<Nats> {
  const seed = new Secret(readFileSync(identities.seedFiles[user], "utf8"));
  const options = { servers, name: user, seed, inboxPrefix: inboxPrefix(user) };
  const nats = await connectNats(options);
  onTestFinished(() => nats.close());
  return nats;
}

beforeAll(async () => {
  server = await startNatsServer({
    config: serverConfig(table, { publicKeys: identities.publicKeys }),
  });
  const seed = new Secret(readFileSync(identities.seedFiles.topology, "utf8"));
  const options = { servers: server.url, name: "topology", seed };
  const admin = await connectNats({ ...options, inboxPrefix: inboxPrefix("topology") });
  await apply(admin, table, { nowMs: Date.now() });
  await admin.close();
});
afterAll(async () => {
  await server?.stop();
  scratch.remove();
});

/** A subject that a pattern allows. */
const example = (pattern: string): string => pattern.replaceAll("*", "x1").replace(/>$/, "x1");

const streamVerbs = [
  ...["CREATE", "UPDATE", "DELETE", "PURGE", "RESTORE", "SNAPSHOT", "INFO", "MSG.GET"],
  ...["MSG.DELETE", "PEER.REMOVE", "LEADER.STEPDOWN"],
];
const consumerVerbs = ["CREATE", "DURABLE.CREATE", "DELETE", "INFO", "PAUSE", "RESET", "MSG.NEXT"];

/** Everything one could try to say: what anybody may, every verb of administration, and what belongs to nobody. */
const subjects = [
  ...new Set([
    ...users.flatMap((user) => matrix[user].publish.map(example)),
    ...users.flatMap((user) => [`${inboxPrefix(user)}.x1`, `$KV.snapshots.${user}.x1`]),
    ...table.streams.flatMap(({ name }) => [
      ...streamVerbs.map((verb) => `$JS.API.STREAM.${verb}.${name}`),
      ...consumerVerbs.map((verb) => `$JS.API.CONSUMER.${verb}.${name}.stranger`),
      ...["NAMES", "LIST"].map((verb) => `$JS.API.CONSUMER.${verb}.${name}`),
      ...[`$JS.API.DIRECT.GET.${name}`, `$JS.API.DIRECT.GET.${name}.x1`],
    ]),
    ...table.consumers.flatMap(({ stream, name }) => [
      ...consumerVerbs.map((verb) => `$JS.API.CONSUMER.${verb}.${stream}.${name}`),
      `$JS.ACK.${stream}.${name}.1.1.1.1.1`,
    ]),
    ...["$JS.API.STREAM.NAMES", "$JS.API.STREAM.LIST", "$JS.API.ACCOUNT.PURGE.CHOM"],
    ...["$JS.API.SERVER.REMOVE", "$JS.API.META.LEADER.STEPDOWN", "$JS.FC.x1"],
    ...["$SYS.REQ.SERVER.PING", "$SYS.REQ.ACCOUNT.CHOM.CONNZ", "$SYS.ACCOUNT.CHOM.CONNECT"],
    ...["$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.JOBS.ssl-high", "_INBOX.x1", "_R_.x1"],
    ...["live.evt.x1.site.x1", "live.jrn.x1.ssl.x1", "live.lease.x1", "wake.job.ssl.high.x1.x1"],
    ...["evt.x1.unknown.x1", "evt.x1.site.x1.x1", "jrn.x1.dashboard.x1", "anything"],
  ]),
];

test.each(users)(
  "case 47, 48: the broker refuses %s to publish anything outside of its row",
  async (user) => {
    const nats = await as(user);
    const forbidden = subjects.filter(
      (subject) => !matrix[user].publish.some((pattern) => subjectMatches(pattern, subject)),
    );
    const refused = new Set<string>();
    const heard = (async () => {
      for await (const status of nats.status()) {
        const text = status.type === "error" ? String(status.error) : "";
        const [, subject] = /publish to "([^"]+)"/i.exec(text) ?? [];
        if (subject) refused.add(subject);
      }
    })();
    for (const subject of forbidden) nats.publish(subject, "{}");
    await expect.poll(() => refused.size).toBe(forbidden.length);
    expect([...refused].toSorted()).toEqual(forbidden.toSorted());
    expect(forbidden.length).toBeGreaterThan(100);
    await nats.close();
    await heard;
  },
);

const listens = [
  ...new Set([
    ...users.flatMap((user) => matrix[user].subscribe),
    ...users.map((user) => `${inboxPrefix(user)}.>`),
    ...table.streams.flatMap(({ subjects: own }) => own as readonly string[]),
    ...[">", "*", "*.>", "evt.>", "jrn.>", "job.>", "sched.>", "audit.>", "quar.>", "$KV.>"],
    ...["$JS.>", "$JS.API.>", "$JS.ACK.>", "$SYS.>", "_INBOX.>", "_R_.>", "live.>", "wake.>"],
  ]),
];

/** True when everything that `wanted` hears is within `allowed`. */
function covers(allowed: string, wanted: string): boolean {
  const [have, want] = [allowed.split("."), wanted.split(".")];
  for (const [index, token] of want.entries()) {
    if (have[index] === ">") return true;
    if (token === ">" || (have[index] !== "*" && have[index] !== token)) return false;
  }
  return have.length === want.length;
}

test.each(users)("case 47: the broker lets %s listen to its own subjects only", async (user) => {
  const nats = await as(user);
  const refused: string[] = [];
  for (const subject of listens) {
    nats.subscribe(subject, {
      callback: (error) => void (error && refused.push(subject)),
    });
  }
  const wanted = listens.filter(
    (subject) => !matrix[user].subscribe.some((pattern) => covers(pattern, subject)),
  );
  await expect.poll(() => refused.length).toBe(wanted.length);
  // What is refused is told before the answer to a ping.
  await nats.flush();
  expect(refused.toSorted()).toEqual(wanted.toSorted());
});

test("case 47: a broker without a key lets nobody in", async () => {
  const stranger = connectNats({ servers: server.url, name: "stranger" });
  await expect(stranger).rejects.toMatchObject({ code: "log-unavailable" });
});

test("case 48: facts can be neither deleted nor purged, not even by the administrator", async () => {
  const admin = await as("topology");
  const ssl = await as("ssl");
  const { seq } = valueOf(await publish(ssl, "evt.x1.certificate.x1", "{}"), "publish");
  for (const stream of ["EVENTS", "AUDIT"]) {
    expect(await api(admin, `STREAM.PURGE.${stream}`), stream).toHaveProperty("fault");
    expect(await api(admin, `STREAM.MSG.DELETE.${stream}`, { seq }), stream).toHaveProperty(
      "fault",
    );
    // A stream's own walls cannot be taken down again.
    const info = valueOf(
      await api<{ config: Record<string, unknown> }>(admin, `STREAM.INFO.${stream}`),
      "info",
    );
    const open = { ...info.config, deny_delete: false, deny_purge: false };
    expect(await api(admin, `STREAM.UPDATE.${stream}`, open), stream).toHaveProperty("fault");
  }
});

/** What a thief of a key would like the broker to do in its own name. */
const wishes = [
  ...["JOURNAL", "JOBS", "QUARANTINE", "KV_leases", "KV_api-tokens"].flatMap((stream) => [
    `$JS.API.STREAM.PURGE.${stream}`,
    `$JS.API.STREAM.DELETE.${stream}`,
    `$JS.API.STREAM.MSG.DELETE.${stream}`,
  ]),
  ...["$JS.API.CONSUMER.CREATE.EVENTS.thief", "$JS.API.CONSUMER.DURABLE.CREATE.EVENTS.thief"],
  ...["$JS.API.CONSUMER.DELETE.JOBS.backup-high", "$JS.API.STREAM.CREATE.THIEF"],
  ...["evt.x1.server.victim", "jrn.x1.backup.victim", "job.backup.high.x1.victim"],
  ...["$KV.api-tokens.victim", "$KV.limits.victim", "audit.victim", "quar.backup.victim"],
];
const consumerRequest = (name: string) => ({
  stream_name: "EVENTS",
  config: { name, durable_name: name, ack_policy: "explicit" },
});

/** Everything there is on the broker: streams with their messages, and consumers. */
async function inventory(admin: Nats): Promise<string[]> {
  const found: string[] = [];
  for (const { name } of table.streams) {
    const { state } = valueOf(
      await api<{ state: { subjects?: Record<string, number> } }>(admin, `STREAM.INFO.${name}`, {
        subjects_filter: ">",
      }),
      name,
    );
    found.push(
      `${name} ${Object.keys(state.subjects ?? {})
        .toSorted()
        .join(" ")}`,
    );
    const { consumers } = valueOf(
      await api<{ consumers: string[] }>(admin, `CONSUMER.NAMES.${name}`),
      name,
    );
    found.push(...(consumers ?? []).map((consumer) => `${name}/${consumer}`));
  }
  return found;
}

test.each(users.filter((user) => user !== "topology"))(
  "case 47, 48: with the key of %s the broker's own answers administer nothing and are stored nowhere",
  async (user) => {
    const [admin, thief] = [await as("topology"), await as(user)];
    const { publish: allowed } = matrix[user];
    const own = allowed.map(example).filter((subject) => /^(evt|jrn|quar|audit)\./.test(subject));
    // What a direct get answers is what was stored: a whole request of administration.
    for (const subject of own) {
      valueOf(await publish(thief, subject, JSON.stringify(consumerRequest("thief"))), subject);
    }
    const prize = valueOf(
      await publish(await as("ssl"), "jrn.x1.ssl.prize", JSON.stringify(consumerRequest("thief"))),
      "publish",
    );
    const before = await inventory(admin);
    const asked = allowed.map(example).filter((subject) => /^\$JS\.(API|ACK)/.test(subject));
    const reads = own.map((subject) => JSON.stringify({ last_by_subj: subject }));
    for (const reply of wishes.filter((wish) => !allowed.some((p) => subjectMatches(p, wish)))) {
      for (const subject of [...asked, ...own.map((at) => `$JS.API.DIRECT.GET.EVENTS.${at}`)]) {
        if (!allowed.some((pattern) => subjectMatches(pattern, subject))) continue;
        if (/\.(PURGE|PAUSE|RESET)\./.test(subject)) continue;
        for (const body of ["", JSON.stringify({ seq: prize.seq }), ...reads.slice(0, 2)]) {
          thief.publish(subject, body, { reply });
        }
      }
    }
    await thief.flush();
    // The same from within the account of the streams works, and after it what came before has been answered.
    const control = `control-${user}`;
    const bait = JSON.stringify(consumerRequest(control));
    valueOf(await publish(await as("ssl"), "evt.x1.certificate.bait", bait), "publish");
    admin.publish("$JS.API.DIRECT.GET.EVENTS.evt.x1.certificate.bait", "", {
      reply: `$JS.API.CONSUMER.CREATE.EVENTS.${control}`,
    });
    const isMade = async () => (await inventory(admin)).includes(`EVENTS/${control}`);
    await expect.poll(isMade).toBe(true);
    const after = (await inventory(admin)).filter((line) => line !== `EVENTS/${control}`);
    const bare = (line: string) => line.replace(" evt.x1.certificate.bait", "");
    expect(after.map(bare)).toEqual(before.map(bare));
    valueOf(await api(admin, `CONSUMER.DELETE.EVENTS.${control}`), "delete");
  },
);

test("case 47: across accounts, a cluster still answers, delivers, acknowledges and repeats", async () => {
  const wide = topology({ replicas: 3 });
  const cluster = await startNatsCluster(3, {
    config: serverConfig(wide, { publicKeys: identities.publicKeys }),
  });
  onTestFinished(() => cluster.stop());
  await apply(await as("topology", cluster.urls[0]), wide, { nowMs: Date.now() });
  // One of them is neither the leader of the stream nor of the consumer.
  for (const [index, url] of cluster.urls.entries()) {
    const ssl = await as("ssl", url);
    const live = new Promise<string>((resolve) => {
      ssl.subscribe("live.evt.>", { callback: (_, { subject }) => resolve(subject) });
    });
    const log = jetstreamLog(ssl);
    const subject = `evt.x1.certificate.c${index}`;
    valueOf(await publish(ssl, subject, "{}"), "publish");
    expect(await live).toBe(`live.${subject}`);
    expect(await log.load("EVENTS", subject)).toHaveLength(1);
    valueOf(await publish(ssl, `job.ssl.high.x1.c${index}`, "{}"), "queue");
    const from = { stream: "JOBS", consumer: "ssl-high", batch: 1, waitMs: 5_000 };
    const [item] = await pull(ssl, from);
    expect(item?.subject).toBe(`job.ssl.high.x1.c${index}`);
    await item?.ackSure();
  }
});

test("case 49: an answer that the broker was made to store under a foreign subject is nobody's fact", async () => {
  const ssl = await as("ssl");
  const headers = { "ce-type": "chom.provisioning.v1.SiteProvisioned", "ce-id": "forged" };
  const mine = "evt.x1.certificate.forger";
  valueOf(await publish(ssl, mine, '{"forged":true}', { headers }), "publish");
  // Only who is in the account of the streams can still do that: the administrator.
  const admin = await as("topology");
  admin.publish(`$JS.API.DIRECT.GET.EVENTS.${mine}`, "", { reply: "evt.x1.site.victim" });
  const log = jetstreamLog(await as("provisioning"));
  const read = () => log.load("EVENTS", "evt.x1.site.victim");
  await expect.poll(async () => (await read()).length).toBe(1);
  const wanted = { subject: "evt.x1.site.victim", type: "", id: "", source: "" };
  const [found] = await read();
  expect(found).toMatchObject(wanted);
  expect(await log.last("EVENTS", "evt.x1.site.victim")).toMatchObject(wanted);
  expect(await log.read("EVENTS", "evt.x1.site.victim", 0, 10)).toMatchObject({
    entries: [wanted],
  });
  // Reactors take one at a time, and other tests have left facts before this one.
  const types = new Map<string, string>();
  await expect
    .poll(async () => {
      const asked = { stream: "EVENTS", consumer: "ssl-sites", batch: 1, waitMs: 2_000 };
      for (const one of await pull(ssl, asked)) {
        types.set(one.subject, one.header("ce-type"));
        one.ack();
      }
      return [...types.keys()];
    })
    .toContain("evt.x1.site.victim");
  expect(types.get("evt.x1.site.victim")).toBe("");
});
