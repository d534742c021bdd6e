import { randomBytes } from "node:crypto";
import { SiteDeprovisioned, SiteProvisioned } from "@chom/proto/chom/provisioning/v1/events";
import { type NatsServer, startNatsServer } from "@chom/stack/nats-server";
import { expect, onTestFinished, test } from "vitest";
import { aggregate } from "../aggregate/aggregate.ts";
import { eventTypes } from "../aggregate/event-types.ts";
import { hashId } from "../aggregate/id.ts";
import { encodeEvent } from "../event-log/codec.ts";
import { entryFor } from "../event-log/conformance.ts";
import { jetstreamLog } from "../event-log/jetstream-log.ts";
import { api, connectNats, getFromLeader, type Nats, valueOf } from "../event-log/nats.ts";
import { rejected, transient } from "../failure/failure.ts";
import type { AnyJob } from "../job/job.ts";
import { keyring } from "../secrets/keyring.ts";
import { Secret } from "../secrets/secret.ts";
import type { Logger } from "../telemetry/logger.ts";
import { apply } from "../topology/apply.ts";
import { topology } from "../topology/topology.ts";
import { command, reactor } from "./reactor.ts";
import { type ReactorHost, startReactor } from "./run-reactor.ts";

const happened = eventTypes({ SiteProvisioned, SiteDeprovisioned });
const certificate = aggregate({
  name: "certificate",
  events: {},
  initial: () => ({}),
  evolve: {},
  commands: { drop: (_state: object, _input: { siteId: string }) => [] },
});
// The reactor only passes the job on, so its name is all that counts here.
const issue = { name: "certificate.issue" } as AnyJob;

const sites = reactor({
  name: "sites",
  aggregate: "site",
  from: happened,
  on: {
    SiteProvisioned: ({ siteId }) => {
      if (siteId === "poison") throw new Error("a bug");
      return { kind: "dispatch", job: issue, input: { siteId }, options: {} } as const;
    },
    SiteDeprovisioned: ({ siteId }, { tenant }) => [
      command(certificate, tenant, siteId, "drop", { siteId }),
    ],
  },
});

const sealer = keyring([{ keyId: "k", key: new Secret(randomBytes(32)) }], randomBytes);
const now = new Date("2026-11-23T22:00:00Z");

type Target = ReactorHost["app"];
type Over = Partial<Target> & Pick<Partial<ReactorHost>, "retryMs" | "backfill">;
const siteOf = (input: unknown) => (input as { siteId: string }).siteId;
const dispatched = { jobId: "j", position: 1, created: true };

async function setup() {
  const server: NatsServer = await startNatsServer();
  const nats: Nats = await connectNats({ servers: server.url, name: "test" });
  onTestFinished(async () => {
    await nats.close();
    await server.stop();
  });
  await apply(nats, topology({ replicas: 1 }), { nowMs: 1 });
  const log = jetstreamLog(nats);
  const done: string[] = [];
  const jobIds = new Set<string>();
  const alerts: unknown[] = [];
  const logger = {
    debug: () => {},
    info: () => {},
    warn: () => {},
    error: ({ alert }: { alert?: string }) => alerts.push(alert),
  } as unknown as Logger;
  const app: Target = {
    sealer,
    now: () => now,
    dispatch: async ({ jobId, job, input, tenant }) => {
      jobIds.add(jobId);
      done.push(`${job.name} ${siteOf(input)} ${tenant}`);
      return { jobId, position: 1, created: true };
    },
    handle: async (_of, ...[id, name, , cause]) => {
      done.push(`${name} ${id} ${cause.causationId}`);
      return { position: 1, decided: 1 };
    },
  };
  const start = ({ retryMs = [20, 20, 20, 20], backfill = false, ...over }: Over = {}) => {
    const options = { service: "ssl", nats, logger, retryMs, backfill, app: { ...app, ...over } };
    const running = startReactor(sites, options);
    onTestFinished(() => running.stop());
    return running;
  };
  const put = async (siteId: string, made?: "gone" | "old" | "forged") => {
    const subject = `evt.acme.site.${siteId}`;
    const last = (await log.last("EVENTS", subject))?.sequence ?? 0;
    const event =
      made === "gone"
        ? happened.SiteDeprovisioned(SiteDeprovisioned.fromPartial({ siteId }))
        : happened.SiteProvisioned(SiteProvisioned.fromPartial({ siteId }));
    const time = made === "old" ? new Date("2026-10-01") : now;
    const id = `${siteId}-${last + 1}`;
    const rest = {
      time,
      source: made === "forged" ? "backup" : "provisioning",
      actor: "zoë",
      causationId: "",
      correlationId: "",
      traceparent: "",
    };
    await log.append("EVENTS", subject, last, [
      encodeEvent(event, { subject, id, ...rest }, sealer),
    ]);
    return id;
  };
  const unsettled = async () => {
    const answer = await api<{ num_ack_pending: number; num_pending: number }>(
      nats,
      "CONSUMER.INFO.EVENTS.ssl-sites",
    );
    const { num_ack_pending, num_pending } = valueOf(answer, "info");
    return num_ack_pending + num_pending;
  };
  return { server, nats, log, done, jobIds, alerts, start, put, unsettled };
}

test("facts become work in their order, with ids made from the cause", async () => {
  const { put, start, done, jobIds, unsettled } = await setup();
  const first = await put("s1");
  start();
  const gone = await put("s1", "gone");
  await put("s2");
  await expect
    .poll(() => done)
    .toEqual(["certificate.issue s1 acme", `drop s1 ${gone}`, "certificate.issue s2 acme"]);
  expect(jobIds).toContain(hashId(first, "sites", "certificate.issue", 0));
  await expect.poll(unsettled).toBe(0);
});

test("case 54: an event that fails five times is quarantined with an alert, and the next one follows", async () => {
  const { put, log, nats, start, done, alerts, unsettled } = await setup();
  await put("poison");
  const garbage = "evt.acme.site.odd";
  const odd = { type: "chom.provisioning.v1.SiteProvisioned", body: "garbage" };
  await log.append("EVENTS", garbage, 0, [entryFor(garbage, "odd-1", odd)]);
  await put("s1");
  start();
  await expect.poll(() => done, { timeout: 30_000 }).toEqual(["certificate.issue s1 acme"]);
  expect(alerts).toEqual(["reactor-quarantined", "reactor-quarantined"]);
  const query = { last_by_subj: "quar.ssl.sites" };
  const quarantined = await getFromLeader(nats, "QUARANTINE", query);
  expect(quarantined?.body).toBe("garbage");
  expect(quarantined?.header("chom-quarantined-subject")).toBe(garbage);
  expect(quarantined?.header("chom-quarantined-code")).toBe("entry-undecodable");
  await expect.poll(unsettled).toBe(0);
});

test("case 49: an event that names a foreign producer is quarantined at once, and starts nothing", async () => {
  const { put, nats, start, done, alerts } = await setup();
  start();
  await put("forged", "forged");
  await put("s1");
  await expect.poll(() => done, { timeout: 30_000 }).toEqual(["certificate.issue s1 acme"]);
  expect(alerts).toEqual(["reactor-quarantined"]);
  const quarantined = await getFromLeader(nats, "QUARANTINE", { last_by_subj: "quar.ssl.sites" });
  expect(quarantined?.header("chom-quarantined-code")).toBe("foreign-producer");
});

test("a reaction that fails four times succeeds at the fifth", async () => {
  const { put, start, alerts, unsettled } = await setup();
  let tries = 0;
  start({
    dispatch: async () => {
      tries += 1;
      if (tries < 5) throw transient("service-down", "not yet");
      return dispatched;
    },
  });
  await put("s1");
  await expect.poll(() => tries).toBe(5);
  await expect.poll(unsettled).toBe(0);
  expect(alerts).toEqual([]);
});

test("while the log is away nothing counts as a failure", async () => {
  const { put, start, alerts } = await setup();
  let tries = 0;
  start({
    retryMs: [],
    dispatch: async () => {
      tries += 1;
      if (tries < 3) throw transient("log-unavailable", "away");
      return dispatched;
    },
  });
  await put("s1");
  await expect.poll(() => tries, { timeout: 30_000 }).toBe(3);
  expect(alerts).toEqual([]);
});

test("a state that forbids the reaction is no failure", async () => {
  const { put, start, done, alerts } = await setup();
  start({ handle: () => Promise.reject(rejected("dropped", "it is gone already")), retryMs: [] });
  await put("s1", "gone");
  await put("s2");
  await expect.poll(() => done).toEqual(["certificate.issue s2 acme"]);
  expect(alerts).toEqual([]);
});

test("old causes dispatch nothing, unless it is a backfill", async () => {
  const { put, start, done } = await setup();
  const running = start();
  await put("s1", "old");
  await put("s2");
  await expect.poll(() => done).toEqual(["certificate.issue s2 acme"]);
  await running.stop();
  start({ backfill: true });
  await put("s3", "old");
  await expect.poll(() => done).toContain("certificate.issue s3 acme");
});

test("a reactor stopped between two tries gives the event back at once", async () => {
  const { put, start, done } = await setup();
  let failed = 0;
  const stubborn = start({
    retryMs: [60_000],
    dispatch: async () => {
      failed += 1;
      throw new Error("not yet");
    },
  });
  await put("s1");
  await expect.poll(() => failed).toBe(1);
  await stubborn.stop();
  start();
  await expect.poll(() => done, { timeout: 30_000 }).toEqual(["certificate.issue s1 acme"]);
});

test("two replicas share the events, one at a time", async () => {
  const { put, start, unsettled } = await setup();
  let [running, most] = [0, 0];
  const seen: string[] = [];
  const dispatch: Target["dispatch"] = async ({ input }) => {
    running += 1;
    most = Math.max(most, running);
    await new Promise((resolve) => setTimeout(resolve, 5));
    seen.push(siteOf(input));
    running -= 1;
    return dispatched;
  };
  start({ dispatch });
  start({ dispatch });
  const ids = Array.from({ length: 20 }, (_, i) => `s${i}`);
  for (const id of ids) await put(id);
  await expect.poll(() => seen, { timeout: 30_000 }).toEqual(ids);
  expect(most).toBe(1);
  await expect.poll(unsettled).toBe(0);
});

test("a killed and restarted broker loses no event and repeats only with the same ids", async () => {
  const { server, put, start, jobIds, unsettled } = await setup();
  const running = start({ retryMs: [] });
  const ids = Array.from({ length: 30 }, (_, i) => `s${i}`);
  for (const id of ids.slice(0, 10)) await put(id);
  await expect.poll(() => jobIds.size).toBeGreaterThan(0);
  await server.kill();
  await server.restart();
  for (const id of ids.slice(10, 20)) await put(id);
  await server.kill();
  await server.restart();
  for (const id of ids.slice(20)) await put(id);
  await expect.poll(() => jobIds.size, { timeout: 40_000 }).toBe(30);
  await expect.poll(unsettled, { timeout: 40_000 }).toBe(0);
  await running.stop();
});
