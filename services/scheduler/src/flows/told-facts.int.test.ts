/** A worker that dies between a job's journal and the event log: what comes behind the job waits for its facts. */
import { readFileSync } from "node:fs";
import { JobState } from "@chom/proto/chom/jobs/v1/jobs";
import { JobCompleted, JobQueued, JobStarted } from "@chom/proto/chom/jobs/v1/journal";
import { BatchSpec, ChainSpec } from "@chom/proto/chom/scheduler/v1/flows";
import { encodeEvent } from "@chom/shared/event-log/codec";
import { entryFor } from "@chom/shared/event-log/conformance";
import type { EventLog } from "@chom/shared/event-log/event-log";
import { jetstreamLog } from "@chom/shared/event-log/jetstream-log";
import { connectNats } from "@chom/shared/event-log/nats";
import { journalEvents } from "@chom/shared/job/journal-events";
import { Secret } from "@chom/shared/secrets/secret";
import type { App } from "@chom/shared/service/app";
import { type Running, startService } from "@chom/shared/service/start";
import { type Ground, startGround } from "@chom/shared/testing/ground";
import { inboxPrefix } from "@chom/shared/topology/names";
import { and, eq } from "drizzle-orm";
import { afterAll, beforeAll, expect, test } from "vitest";
import { jobList } from "../projections.ts";
import { jobs } from "../tables.ts";
import { batch, memberId } from "./batch.ts";
import { chain, linkId } from "./chain.ts";
import { lookAtBatches, lookAtChains } from "./look-at-flows.ts";
import { batchList, chainList, refusalList } from "./projections.ts";
import { startBatch, startChain } from "./start-step.ts";
import { batches, toldMembers } from "./tables.ts";

const tenant = "acme";
const long = { timeout: 60_000 };

let ground: Ground;
let scheduler: Running;
let app: App;
let nats: Awaited<ReturnType<typeof connectNats>>;
let log: EventLog;
const signal = new AbortController().signal;
const step = { jobName: "certificate.issue", inputJson: "{}" };
const flow = { tenant, actor: "zoë", reason: "", causationId: "", queue: "" };

beforeAll(async () => {
  ground = await startGround();
  scheduler = await startService(
    {
      name: "scheduler",
      migrations: new URL("../../migrations", import.meta.url),
      cast(given) {
        app = given;
        return { projections: [jobList, chainList, batchList, refusalList] };
      },
    },
    await ground.environment("scheduler"),
  );
  const seed = new Secret(readFileSync(ground.seedFiles.ssl, "utf8"));
  nats = await connectNats({
    ...{ servers: ground.nats.url, name: "worker", seed, inboxPrefix: inboxPrefix("ssl") },
  });
  log = jetstreamLog(nats);
}, 120_000);
afterAll(async () => {
  await nats?.close();
  await scheduler?.stop();
  await ground?.stop();
});

/** What a worker leaves that dies exactly between the two appends. */
async function dieAfterJournal(
  jobId: string,
  { site, batchId = "" }: { site: string; batchId?: string },
): Promise<() => Promise<unknown>> {
  const subject = `jrn.${tenant}.ssl.${jobId}`;
  const time = new Date();
  const fact = `evt.${tenant}.certificate.${site}`;
  const eventId = `fact-${site}`;
  const decided = {
    ...{ eventId, subject: fact, time, dataJson: "{}" },
    type: "chom.ssl.v1.CertificateIssued",
  };
  const queued = { jobName: "certificate.issue", queue: "default", tries: 1, batchId };
  const entries = [
    journalEvents.JobQueued(JobQueued.fromPartial(queued)),
    journalEvents.JobStarted(JobStarted.fromPartial({ attempt: 1, generation: 1 })),
    journalEvents.JobCompleted(JobCompleted.fromPartial({ events: [decided] })),
  ].map((event, n) => {
    const made = { id: `${jobId}-${n}`, time, subject, source: "ssl", actor: "zoë" };
    const envelope = { ...made, causationId: "", correlationId: "", traceparent: "" };
    return encodeEvent(event, envelope, app.sealer);
  });
  await log.append("JOURNAL", subject, 0, entries);
  const isThere = and(eq(jobs.tenant, tenant), eq(jobs.jobId, jobId));
  const states = () => app.db.select({ state: jobs.state }).from(jobs).where(isThere);
  await expect.poll(states, long).toEqual([{ state: JobState.COMPLETED }]);
  return () => log.append("EVENTS", fact, 0, [entryFor(fact, eventId)]);
}

test("a chain goes on when its link's facts are in the event log, not when its journal decided them", async () => {
  const chainId = "chain-1";
  await startChain(app, ChainSpec.fromPartial({ links: [step, step] }), { ...flow, id: chainId });
  const tell = await dieAfterJournal(linkId(chainId, 0), { site: "site-1" });
  const positionOf = async () => (await app.load(chain, tenant, chainId)).state.position;
  await lookAtChains(app, signal);
  expect(await positionOf()).toBe(0);
  await tell();
  // The list of chains may be a moment behind.
  await expect
    .poll(async () => {
      await lookAtChains(app, signal);
      return positionOf();
    }, long)
    .toBe(1);
}, 120_000);

test("a batch finishes when its members' facts are in the event log, and each is looked up until then only", async () => {
  const batchId = "batch-1";
  const spec = BatchSpec.fromPartial({ name: "two", jobs: [step, step] });
  await startBatch(app, spec, { ...flow, id: batchId });
  const members = [0, 1].map((index) => memberId(batchId, index));
  const [first = "", second = ""] = members;
  const tellFirst = await dieAfterJournal(first, { site: "site-2", batchId });
  const tellSecond = await dieAfterJournal(second, { site: "site-3", batchId });
  const rows = () => app.db.select({ status: batches.status }).from(batches);
  await expect.poll(rows, long).toEqual([{ status: "running" }]);
  const read: string[] = [];
  const load: EventLog["load"] = (stream, subject, ...more) => {
    read.push(subject);
    return app.log.load(stream, subject, ...more);
  };
  // Every look comes a minute later than the one before.
  let minutes = 0;
  const look = async () => {
    minutes += 1;
    read.length = 0;
    const at = new Date(Date.now() + minutes * 60_000);
    const watching = { ...app, now: () => at, log: { ...app.log, load } };
    await lookAtBatches(watching, signal);
    return (await app.load(batch, tenant, batchId)).state;
  };
  expect(await look()).toMatchObject({ finished: false, tally: { completed: 0 } });
  await tellFirst();
  expect(await look()).toMatchObject({ finished: false, tally: { completed: 1 } });
  await look();
  expect(read.filter((subject) => subject.includes(first))).toEqual([]);
  expect(read.filter((subject) => subject.includes(second))).not.toEqual([]);
  await tellSecond();
  expect(await look()).toMatchObject({ finished: true, tally: { completed: 2 } });
  await expect.poll(rows, long).toEqual([{ status: "finished" }]);
  await lookAtBatches(app, signal);
  expect(await app.db.select().from(toldMembers)).toEqual([]);
}, 120_000);
