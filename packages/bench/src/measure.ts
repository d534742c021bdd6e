/** The measurements: throughput beside its ceiling, latency when idle, memory of a worker. */
import { type ChildProcess, spawn } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { createDispatch } from "@chom/shared/job/dispatch";
import { startWorkers } from "@chom/shared/job/worker";
import { type Broker, startBroker } from "./broker.ts";
import { runEngine } from "./engine-run.ts";
import { benchEngine, noopJob, tenant } from "./noop-job.ts";
import { runRaw, sampleOf } from "./raw-run.ts";

export type Sync = "default" | "always";
export type Plan = {
  readonly syncs: readonly Sync[];
  /** How many jobs to run at each number in flight. */
  readonly loads: readonly { readonly inFlight: number; readonly jobs: number }[];
  /** Engine and ceiling take turns so often; what is shown is all turns together. */
  readonly turns: number;
  readonly latencySamples: number;
};

export type Throughput = {
  readonly sync: Sync;
  readonly inFlight: number;
  readonly jobs: number;
  readonly jobsPerSecond: number;
  readonly rawJobsPerSecond: number;
  readonly ratio: number;
  /** CPU of this process (dispatcher and worker in one) for each job, in microseconds. */
  readonly cpuMicros: number;
  /** The same for the bare client: the difference is the engine's own, and the robust figure on a busy machine. */
  readonly rawCpuMicros: number;
};
export type Latency = { readonly sync: Sync; readonly p50Ms: number; readonly p99Ms: number };
export type Memory = { readonly idleMb: number; readonly afterMb: number; readonly jobs: number };

/** What a run took, in seconds, and of this process's CPU, in microseconds. */
async function taken(run: () => Promise<number>): Promise<{ seconds: number; cpu: number }> {
  const before = process.cpuUsage();
  const seconds = await run();
  const { user, system } = process.cpuUsage(before);
  return { seconds, cpu: user + system };
}

/** All loads on one broker. */
export async function throughput(
  sync: Sync,
  plan: Plan,
  tell: (done: Throughput) => void,
): Promise<Throughput[]> {
  const broker = await startBroker(sync === "always");
  const made = noopJob();
  const engine = benchEngine(broker.nats, made);
  const results: Throughput[] = [];
  try {
    await runEngine(engine, made, { jobs: 50, inFlight: 10, prefix: "warm" });
    const sample = await sampleOf(engine.log, "warm-1");
    for (const { inFlight, jobs } of plan.loads) {
      let [seconds, rawSeconds, cpu, rawCpu] = [0, 0, 0, 0];
      for (let turn = 1; turn <= plan.turns; turn += 1) {
        const load = { inFlight, jobs: Math.ceil(jobs / plan.turns) };
        const prefixed = (who: string) => ({ ...load, prefix: `${who}${inFlight}-${turn}` });
        const raw = await taken(() => runRaw(broker.nats, sample, prefixed("r")));
        const own = await taken(() => runEngine(engine, made, prefixed("e")));
        rawSeconds += raw.seconds;
        rawCpu += raw.cpu;
        seconds += own.seconds;
        cpu += own.cpu;
      }
      const all = Math.ceil(jobs / plan.turns) * plan.turns;
      const done: Throughput = {
        ...{ sync, inFlight, jobs: all },
        jobsPerSecond: all / seconds,
        rawJobsPerSecond: all / rawSeconds,
        ratio: rawSeconds / seconds,
        cpuMicros: cpu / all,
        rawCpuMicros: rawCpu / all,
      };
      tell(done);
      results.push(done);
    }
    return results;
  } finally {
    engine.queue.close();
    await broker.stop();
  }
}

const quantile = (sorted: readonly number[], q: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? 0;

/** From the call of dispatch to the first line of `work`, on an idle worker. */
export async function latency(sync: Sync, samples: number): Promise<Latency> {
  const broker = await startBroker(sync === "always");
  let began = () => {};
  const made = noopJob(() => began());
  const engine = benchEngine(broker.nats, made);
  const workers = startWorkers({ engine, concurrency: 8 });
  const dispatch = createDispatch(engine);
  const taken: number[] = [];
  try {
    for (let at = -20; at < samples; at += 1) {
      const id = `idle-${at + 20}`;
      const begun = new Promise<void>((resolve) => {
        began = resolve;
      });
      const sentAt = performance.now();
      await dispatch({ job: made, jobId: id, tenant, actor: "bench", input: { id } });
      await begun;
      // The first ones warm up.
      if (at >= 0) taken.push(performance.now() - sentAt);
      await sleep(10);
    }
  } finally {
    await workers.stop(5_000);
    engine.queue.close();
    await broker.stop();
  }
  taken.sort((a, b) => a - b);
  return { sync, p50Ms: quantile(taken, 0.5), p99Ms: quantile(taken, 0.99) };
}

const answerOf = (worker: ChildProcess): Promise<number> =>
  new Promise((resolve, reject) => {
    worker.once("message", (rss) => resolve(Number(rss)));
    worker.once("exit", (code) => reject(new Error(`the worker ended with ${code}`)));
  });

/** What a worker process holds resident, idle and after so many jobs. */
export async function memory(jobs: number): Promise<Memory> {
  const broker: Broker = await startBroker(false);
  const script = fileURLToPath(new URL("worker-process.ts", import.meta.url));
  const worker = spawn(process.execPath, [script, broker.url, String(jobs)], {
    stdio: ["ignore", "inherit", "inherit", "ipc"],
  });
  try {
    const idle = await answerOf(worker);
    worker.send("go");
    const after = await answerOf(worker);
    const mb = (bytes: number) => Math.round(bytes / 1_048_576);
    return { idleMb: mb(idle), afterMb: mb(after), jobs };
  } finally {
    worker.removeAllListeners("exit");
    worker.kill("SIGKILL");
    await broker.stop();
  }
}
