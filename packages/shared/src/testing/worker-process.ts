/**
 * A worker process for tests: `node worker-process.ts <url> <ledger> crash <jobId> <effect>` kills itself with SIGKILL
 * right after its n-th effect for that job; `… drain` works until SIGTERM and then drains.
 */
import { connectNats } from "../event-log/nats.ts";
import { deliver } from "../job/deliver.ts";
import { startWorkers } from "../job/worker.ts";
import { brokerEngine } from "./broker-engine.ts";
import { dyingPorts } from "./dying-ports.ts";
import { ledgerJob } from "./ledger-job.ts";

const [, , url = "", file = "", mode = "", jobId = "", effect = "0"] = process.argv;
// The connection keeps the process alive until it drains or dies.
const nats = await connectNats({ servers: url, name: "worker-process" });
const jobs = [ledgerJob(file), { ...ledgerJob(file, 1), name: "backup.once" }];
const engine = brokerEngine(nats, jobs, `worker-${process.pid}`);

async function crash(): Promise<void> {
  const ports = dyingPorts(Number(effect), "after", () => process.kill(process.pid, "SIGKILL"));
  const dying = ports.around(engine);
  for (;;) {
    const [delivery] = await engine.queue.take(1, AbortSignal.timeout(20_000));
    if (!delivery) process.exit(3);
    if (delivery.jobId !== jobId) delivery.nak(500);
    else {
      await deliver(dying, ports.wrap(delivery), new AbortController().signal);
      // It got through: there are fewer effects than that.
      process.exit(0);
    }
  }
}

if (mode === "crash") await crash();
else {
  const workers = startWorkers({ engine, concurrency: 2 });
  process.on("SIGTERM", () => {
    void workers.stop(0).then(() => process.exit(0));
  });
  console.log("ready");
}
