/** A worker process for tests that is killed at any moment: `node chaos-worker.ts <broker> <ledger> <concurrency>`. */
import { connectNats } from "../event-log/nats.ts";
import { startWorkers } from "../job/worker.ts";
import { brokerEngine } from "./broker-engine.ts";
import { chaosJob } from "./chaos-job.ts";

const [, , url = "", ledger = "", concurrency = "16"] = process.argv;
const nats = await connectNats({ servers: url, name: "chaos-worker" });
const engine = brokerEngine(nats, [chaosJob(ledger)], `chaos-${process.pid}`);
startWorkers({ engine, concurrency: Number(concurrency) });
