/** What was measured, on what, as a table for people. */
import { cpus, totalmem } from "node:os";
import type { Nats } from "@chom/shared/event-log/nats";
import { startBroker } from "./broker.ts";
import type { Latency, Memory, Throughput } from "./measure.ts";

export type Machine = {
  readonly cpus: number;
  readonly model: string;
  readonly memoryGb: number;
  readonly node: string;
  readonly natsServer: string;
};

const versionOf = (nats: Nats): string => nats.info?.version ?? "unknown";

/** This machine and the programs on it. */
export async function machine(): Promise<Machine> {
  const broker = await startBroker(false);
  const natsServer = versionOf(broker.nats);
  await broker.stop();
  const [first] = cpus();
  return {
    cpus: cpus().length,
    model: first?.model.trim() ?? "unknown",
    memoryGb: Math.round(totalmem() / 2 ** 30),
    node: process.versions.node,
    natsServer,
  };
}

const whole = (value: number): string => Math.round(value).toLocaleString("en");

export const machineLine = ({ cpus: count, model, memoryGb, node, natsServer }: Machine): string =>
  `${count} CPUs (${model}), ${memoryGb} GB; node ${node}, nats-server ${natsServer}; one broker, R1, on this machine`;

export const tableHead = [
  "sync_interval   in flight      jobs    jobs/s   raw jobs/s   ratio   client CPU/job   raw CPU/job",
  "-------------  ----------  --------  --------  -----------  ------  ---------------  ------------",
].join("\n");

/** One row of the table. */
export const rowOf = (row: Throughput): string =>
  [
    row.sync.padEnd(13),
    whole(row.inFlight).padStart(10),
    whole(row.jobs).padStart(8),
    whole(row.jobsPerSecond).padStart(8),
    whole(row.rawJobsPerSecond).padStart(11),
    `${Math.round(row.ratio * 100)} %`.padStart(6),
    `${whole(row.cpuMicros)} µs`.padStart(15),
    `${whole(row.rawCpuMicros)} µs`.padStart(12),
  ].join("  ");

export const latencyLine = ({ sync, p50Ms, p99Ms }: Latency): string =>
  `dispatch to start on an idle worker, ${sync} sync: p50 ${p50Ms.toFixed(2)} ms, p99 ${p99Ms.toFixed(2)} ms`;

export const memoryLine = ({ idleMb, afterMb, jobs }: Memory): string =>
  `resident memory of a worker: ${idleMb} MB idle, ${afterMb} MB after ${whole(jobs)} jobs`;
