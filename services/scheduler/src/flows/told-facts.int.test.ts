/** A worker that dies between a job's journal and the event log: what comes behind the job waits for its facts. */
import { readFileSync } from "node:fs";
import { JobState } from "@chom/proto/chom/jobs/v1/jobs";
import { JobCompleted, JobQueued, JobStarted } from "@chom/proto/chom/jobs/v1/journal";
import { ChainSpec } from "@chom/proto/chom/scheduler/v1/flows";
import { encodeEvent } from "@chom/shared/event-log/codec";
import { entryFor } from "@chom/shared/event-log/conformance";
import { jetstreamLog } from "@chom/shared/event-log/jetstream-log";
import { connectNats } from "@chom/shared/event-log/nats";
import { journalEvents } from "@chom/shared/job/journal-events";
import { Secret } from "@chom/shared/secrets/secret";
import type { App } from "@chom/shared/service/app";
import { startService } from "@chom/shared/service/start";
import { startGround } from "@chom/shared/testing/ground";
import { inboxPrefix } from "@chom/shared/topology/names";
import { and, eq } from "drizzle-orm";
import { expect, onTestFinished, test } from "vitest";
import { jobList } from "../projections.ts";
import { jobs } from "../tables.ts";
import { chain, linkId } from "./chain.ts";
import { lookAtChains } from "./look-at-flows.ts";
import { chainList, refusalList } from "./projections.ts";
import { startChain } from "./start-step.ts";
import { chains } from "./tables.ts";

const tenant = "acme";
const long = { timeout: 60_000 };

test("a chain goes on when its link's facts are in the event log, not when its journal decided them", async () => {
  const ground = await startGround();
  onTestFinished(() => ground.stop());
  let app!: App;
  const scheduler = await startService(
    {
      name: "scheduler",
      migrations: new URL("../../migrations", import.meta.url),
      cast(given) {
        app = given;
        return { projections: [jobList, chainList, refusalList] };
      },
    },
    await ground.environment("scheduler"),
  );
  onTestFinished(() => scheduler.stop());
  const seed = new Secret(readFileSync(ground.seedFiles.ssl, "utf8"));
  const nats = await connectNats({
    ...{ servers: ground.nats.url, name: "worker", seed, inboxPrefix: inboxPrefix("ssl") },
  });
  onTestFinished(() => nats.close());
  const log = jetstreamLog(nats);
  const chainId = "chain-1";
  const step = { jobName: "certificate.issue", inputJson: "{}" };
  await startChain(app, ChainSpec.fromPartial({ links: [step, step] }), {
    ...{ tenant, id: chainId, actor: "zoë", reason: "", causationId: "", queue: "" },
  });

  // What a worker leaves that dies exactly between the two appends.
  const jobId = linkId(chainId, 0);
  const subject = `jrn.${tenant}.ssl.${jobId}`;
  const time = new Date();
  const fact = `evt.${tenant}.certificate.site-1`;
  const decided = {
    ...{ eventId: "fact-1", subject: fact, time, dataJson: "{}" },
    type: "chom.ssl.v1.CertificateIssued",
  };
  const entries = [
    journalEvents.JobQueued(
      JobQueued.fromPartial({ jobName: "certificate.issue", queue: "default", tries: 1 }),
    ),
    journalEvents.JobStarted(JobStarted.fromPartial({ attempt: 1, generation: 1 })),
    journalEvents.JobCompleted(JobCompleted.fromPartial({ events: [decided] })),
  ].map((event, n) => {
    const made = { id: `${jobId}-${n}`, time, subject, source: "ssl", actor: "zoë" };
    const envelope = { ...made, causationId: "", correlationId: "", traceparent: "" };
    return encodeEvent(event, envelope, app.sealer);
  });
  await log.append("JOURNAL", subject, 0, entries);
  const rows = () =>
    app.db
      .select({ state: jobs.state, link: chains.jobId })
      .from(jobs)
      .innerJoin(chains, and(eq(chains.jobId, jobs.jobId), eq(chains.tenant, jobs.tenant)));
  await expect.poll(rows, long).toEqual([{ state: JobState.COMPLETED, link: jobId }]);
  const positionOf = async () => (await app.load(chain, tenant, chainId)).state.position;
  const look = () => lookAtChains(app, new AbortController().signal);
  await look();
  expect(await positionOf()).toBe(0);

  await log.append("EVENTS", fact, 0, [entryFor(fact, "fact-1")]);
  await look();
  expect(await positionOf()).toBe(1);
}, 120_000);
