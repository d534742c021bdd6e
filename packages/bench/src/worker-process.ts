/** A worker as a process of its own: tells what it holds resident, runs jobs when told to, and tells again. */
import { setTimeout as sleep } from "node:timers/promises";
import { connectNats } from "@chom/shared/event-log/nats";
import { runEngine } from "./engine-run.ts";
import { benchEngine, noopJob } from "./noop-job.ts";

const [, , url = "", jobs = "1000"] = process.argv;
const nats = await connectNats({ servers: url, name: "bench-worker" });
const made = noopJob();
const engine = benchEngine(nats, made);
const tell = () => process.send?.(process.memoryUsage.rss());
await sleep(500);
tell();
process.once("message", async () => {
  await runEngine(engine, made, { jobs: Number(jobs), inFlight: 64, prefix: "rss" });
  tell();
});
