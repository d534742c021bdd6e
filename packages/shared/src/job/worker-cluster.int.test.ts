import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { startNatsCluster } from "@chom/stack/nats-server";
import { scratchFolder } from "@chom/stack/scratch-folder";
import { expect, onTestFinished, test } from "vitest";
import { connectNats } from "../event-log/nats.ts";
import { brokerEngine, quickTopology } from "../testing/broker-engine.ts";
import { ledgerJob, ledgerLines } from "../testing/ledger-job.ts";
import { apply } from "../topology/apply.ts";
import { createDispatch } from "./dispatch.ts";
import { openJournal } from "./journal-writer.ts";
import { startWorkers } from "./worker.ts";

const tenant = "acme";

async function setup() {
  const scratch = scratchFolder("cluster");
  const folder = scratch.path;
  const file = join(folder, "ledger");
  writeFileSync(file, "");
  const cluster = await startNatsCluster(3);
  const made = ledgerJob(file);
  const processes = await Promise.all(
    ["one", "two"].map(async (name) => {
      const nats = await connectNats({ servers: cluster.urls, name });
      return { nats, engine: brokerEngine(nats, [made], name) };
    }),
  );
  onTestFinished(async () => {
    await Promise.all(processes.map(({ nats }) => nats.close()));
    await cluster.stop();
    scratch.remove();
  });
  const [first] = processes;
  if (!first) throw new Error("two processes are expected");
  await apply(first.nats, quickTopology(3), { nowMs: Date.now() });
  return { cluster, processes, engine: first.engine, file, made };
}

test("two workers on three brokers, one of which is killed, end every job once with its facts once", async () => {
  const { cluster, processes, engine, file, made } = await setup();
  const dispatch = createDispatch(engine);
  const jobs = Array.from({ length: 24 }, (_, index) => `job-${index}`);
  for (const jobId of jobs) {
    const input = { id: jobId, doing: "work" };
    await dispatch({ job: made, jobId, tenant, actor: "tester", input });
  }
  const workers = processes.map((each) => startWorkers({ engine: each.engine, concurrency: 4 }));
  onTestFinished(async () => {
    await Promise.all(workers.map((each) => each.stop(0)));
    for (const each of processes) each.engine.queue.close();
  });
  await sleep(100);
  await cluster.servers[0]?.kill();
  await sleep(1_000);
  await cluster.servers[0]?.restart();
  const deadline = Date.now() + 90_000;
  for (const jobId of jobs) {
    let journal = await openJournal(engine, { tenant, jobId });
    while (!journal.state().end && Date.now() < deadline) {
      await sleep(200);
      journal = await openJournal(engine, { tenant, jobId });
    }
    expect(journal.state().end?.name, jobId).toBe("JobCompleted");
  }
  await sleep(1_000);
  for (const jobId of jobs) {
    const entries = await engine.log.load("EVENTS", `evt.${tenant}.backups.${jobId}`);
    const types = entries.map(({ type }) => type.split(".").at(-1));
    expect(types, jobId).toEqual(["Begun", "Noted", "Ended", "Noted"]);
    expect(ledgerLines(file)).toContain(`${jobId} two`);
  }
}, 180_000);
