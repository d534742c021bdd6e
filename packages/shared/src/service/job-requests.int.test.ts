import { randomBytes } from "node:crypto";
import { JobRequested, type JobRefused } from "@chom/proto/chom/jobs/v1/control";
import { type IssueCertificateRequest, SslServiceService } from "@chom/proto/chom/ssl/v1/ssl";
import { startNatsServer } from "@chom/stack/nats-server";
import { expect, onTestFinished, test } from "vitest";
import { eventTypes } from "../aggregate/event-types.ts";
import { handleCommand, loadAggregate } from "../event-log/aggregates.ts";
import { encodeEvent } from "../event-log/codec.ts";
import { entryFor } from "../event-log/conformance.ts";
import { jetstreamLog } from "../event-log/jetstream-log.ts";
import { api, connectNats, getFromLeader, valueOf } from "../event-log/nats.ts";
import { pull } from "../event-log/pull.ts";
import { transient } from "../failure/failure.ts";
import { jobRefusal } from "../job/job-refusal.ts";
import { sealFor } from "../job/payload.ts";
import { startReactor } from "../reactor/run-reactor.ts";
import { unary } from "../rpc/unary.ts";
import { keyring } from "../secrets/keyring.ts";
import { Secret } from "../secrets/secret.ts";
import type { Logger } from "../telemetry/logger.ts";
import { apply } from "../topology/apply.ts";
import { topology } from "../topology/topology.ts";
import { answerJobRequests } from "./job-requests.ts";

const requested = eventTypes({ JobRequested });
const sealer = keyring([{ keyId: "k", key: new Secret(randomBytes(32)) }], randomBytes);
const busy = () => transient("service-unavailable", "the credentials service does not answer");

async function setup() {
  const server = await startNatsServer();
  const nats = await connectNats({ servers: server.url, name: "test" });
  onTestFinished(async () => {
    await nats.close();
    await server.stop();
  });
  await apply(nats, topology({ replicas: 1 }), { nowMs: 1 });
  const log = jetstreamLog(nats);
  const alerts: unknown[] = [];
  const logger = {
    ...{ debug: () => {}, info: () => {}, warn: () => {} },
    error: (about: object) => alerts.push(about),
  } as unknown as Logger;
  const histories = { log, sealer, source: "ssl", now: () => new Date() };

  /** One replica of a family whose method for the job does as told. */
  function start(accept: (jobId: string) => Promise<void>, patienceMs: number) {
    const issueCertificate = unary(async ({ requestId }: IssueCertificateRequest) => {
      await accept(requestId);
      return { jobId: requestId, position: 0n };
    });
    const rpc = [{ definition: SslServiceService, implementation: { issueCertificate } }];
    const family = "ssl";
    const reactor = answerJobRequests({ family, rpc, sealer, log, logger, patienceMs });
    const running = startReactor(reactor, {
      ...{ service: family, nats, logger },
      app: {
        ...{ sealer, now: () => new Date() },
        dispatch: () => Promise.reject(new Error("not here")),
        handle: async (of, ...[id, command, input, cause]) =>
          handleCommand(histories, { of, id, command, input, cause }),
      },
    });
    onTestFinished(() => running.stop());
    return running;
  }
  async function ask(jobId: string, expiresAt?: Date) {
    const subject = `evt.acme.job-request.${jobId}`;
    const place = { tenant: "acme", jobId, kind: "request:certificate.issue" };
    const data = JobRequested.fromPartial({
      ...{ jobId, family: "ssl", jobName: "certificate.issue", actor: "zoë", requestHash: "h" },
      ...{ chainId: "chain-1", options: { expiresAt } },
      request: sealFor(sealer, place, Buffer.from("{}")),
    });
    const made = { id: `ask-${jobId}`, time: new Date(), subject, source: "scheduler" };
    const envelope = { ...made, actor: "zoë", causationId: "", correlationId: "", traceparent: "" };
    const entry = encodeEvent(requested.JobRequested(data), envelope, sealer);
    await log.append("EVENTS", subject, 0, [entry]);
  }
  const refused = async (jobId: string): Promise<JobRefused | undefined> =>
    (await loadAggregate(histories, jobRefusal, "acme", jobId)).state.refused;
  const unsettled = async () => {
    const answer = await api<{ num_ack_pending: number; num_pending: number }>(
      nats,
      "CONSUMER.INFO.EVENTS.ssl-job-requests",
    );
    const { num_ack_pending, num_pending } = valueOf(answer, "info");
    return num_ack_pending + num_pending;
  };
  const quarantined = () =>
    getFromLeader(nats, "QUARANTINE", { last_by_subj: "quar.ssl.job-requests" });
  return { nats, log, alerts, start, ask, refused, unsettled, quarantined };
}

const long = { timeout: 30_000 };

test("a request that cannot be accepted yet comes again, over the death of its process, and others pass it", async () => {
  const { alerts, start, ask, refused, unsettled, quarantined } = await setup();
  let tries = 0;
  let isAway = true;
  const done: string[] = [];
  const accept = async (jobId: string) => {
    if (jobId === "stuck") tries += 1;
    if (jobId === "stuck" && isAway) throw busy();
    done.push(jobId);
  };
  const first = start(accept, 900_000);
  await ask("stuck");
  await ask("free");
  await expect.poll(() => done, long).toEqual(["free"]);
  await expect.poll(() => tries, long).toBe(3);
  await first.stop();
  start(accept, 900_000);
  isAway = false;
  await expect.poll(() => done, long).toEqual(["free", "stuck"]);
  await expect.poll(unsettled, long).toBe(0);
  expect(await refused("stuck")).toBeUndefined();
  expect(alerts).toEqual([]);
  expect(await quarantined()).toBeUndefined();
}, 60_000);

test("a request that cannot be accepted in its time is refused with a code that says so, and an alert", async () => {
  const { alerts, start, ask, refused, unsettled, quarantined } = await setup();
  let tries = 0;
  const accept = async () => {
    tries += 1;
    throw busy();
  };
  start(accept, 3_000);
  await ask("stuck");
  await expect
    .poll(() => refused("stuck"), long)
    .toMatchObject({
      ...{ jobId: "stuck", family: "ssl", jobName: "certificate.issue", chainId: "chain-1" },
      failure: {
        kind: "permanent",
        code: "not-accepted-in-time",
        message: expect.stringContaining("service-unavailable"),
      },
    });
  expect(tries).toBe(3);
  await expect.poll(unsettled, long).toBe(0);
  expect(alerts).toMatchObject([{ alert: "request-not-accepted", jobId: "stuck", tenant: "acme" }]);
  expect(await quarantined()).toBeUndefined();
}, 60_000);

test("a request whose expiry has come is not tried again", async () => {
  const { start, ask, refused } = await setup();
  let tries = 0;
  const accept = async () => {
    tries += 1;
    throw busy();
  };
  start(accept, 900_000);
  await ask("late", new Date(Date.now() - 1_000));
  const failure = { code: "not-accepted-in-time" };
  await expect.poll(() => refused("late"), long).toMatchObject({ failure });
  expect(tries).toBe(1);
}, 60_000);

test("what a failed try journaled is accepted, never refused", async () => {
  const { log, alerts, start, ask, refused, unsettled } = await setup();
  const accept = async (jobId: string) => {
    const subject = `jrn.acme.ssl.${jobId}`;
    if (!(await log.last("JOURNAL", subject))) {
      await log.append("JOURNAL", subject, 0, [entryFor(subject, `queued-${jobId}`)]);
    }
    throw busy();
  };
  start(accept, 1_000);
  await ask("half");
  await expect.poll(unsettled, long).toBe(0);
  expect(await refused("half")).toBeUndefined();
  expect(alerts).toEqual([]);
}, 60_000);

test("a request whose every delivery ended its process is refused too, without another try", async () => {
  const { nats, start, ask, refused } = await setup();
  await ask("deadly");
  for (let deliveries = 1; deliveries <= 2; deliveries += 1) {
    const from = { stream: "EVENTS", consumer: "ssl-job-requests", batch: 1, waitMs: 5_000 };
    const [message] = await pull(nats, from);
    expect(message?.deliveries).toBe(deliveries);
    // What the broker does by itself once it has waited for a dead process.
    message?.nak();
  }
  let tries = 0;
  start(async () => {
    tries += 1;
  }, 1_000);
  const failure = { code: "not-accepted-in-time", message: expect.stringContaining("worker-lost") };
  await expect.poll(() => refused("deadly"), long).toMatchObject({ failure });
  expect(tries).toBe(0);
}, 60_000);

test("requests are accepted side by side, each once, over two replicas", async () => {
  const { start, ask, unsettled } = await setup();
  let [running, most] = [0, 0];
  const done: string[] = [];
  const gate = Promise.withResolvers<void>();
  const accept = async (jobId: string) => {
    running += 1;
    most = Math.max(most, running);
    if (most >= 16) gate.resolve();
    await gate.promise;
    done.push(jobId);
    running -= 1;
  };
  const ids = Array.from({ length: 100 }, (_, n) => `job-${n}`);
  for (const id of ids) await ask(id);
  start(accept, 900_000);
  start(accept, 900_000);
  await expect.poll(() => done.length, long).toBe(100);
  expect(new Set(done).size).toBe(100);
  await expect.poll(unsettled, long).toBe(0);
}, 60_000);
