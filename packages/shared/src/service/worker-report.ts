/** What every worker process tells about itself, for alerts and people: an entry in KV that ends with the process. */
import { hostname } from "node:os";
import { hashId } from "../aggregate/id.ts";
import { getBatch, type Nats, publish, valueOf } from "../event-log/nats.ts";
import { isGone } from "../lease/bucket.ts";
import type { Logger } from "../telemetry/logger.ts";
import { kvSubject } from "../topology/subjects.ts";

/** One worker process, a few seconds ago. */
export type WorkerReport = {
  readonly family: string;
  /** Like `ssl@host.1234`. */
  readonly worker: string;
  readonly host: string;
  readonly pid: number;
  readonly rssBytes: number;
  readonly heapBytes: number;
  /** Jobs in hand. */
  readonly running: number;
  readonly startedAt: string;
  readonly at: string;
};

const everyMs = 10_000;
/** A process that has not reported for so long is gone. */
const ttlSeconds = 35;
const markerSeconds = 5;
const prefix = "heartbeat.worker";

/** Reports now and every 10 s until it is stopped; what cannot be told is told the next time. */
export function reportWorker(options: {
  nats: Nats;
  family: string;
  worker: string;
  running: () => number;
  logger: Logger;
}): { stop(): Promise<void> } {
  const { nats, family, worker, running, logger } = options;
  const subject = kvSubject("leases", `${prefix}.${family}.${hashId(worker)}`);
  const startedAt = new Date().toISOString();
  const tell = async () => {
    const { rss: rssBytes, heapUsed: heapBytes } = process.memoryUsage();
    const at = new Date().toISOString();
    const memory = { rssBytes, heapBytes, running: running(), startedAt, at };
    const report: WorkerReport = { family, worker, host: hostname(), pid: process.pid, ...memory };
    const headers = { "Nats-TTL": `${ttlSeconds}s` };
    valueOf(await publish(nats, subject, JSON.stringify(report), { headers }), "reporting");
  };
  const again = () =>
    void tell().catch((err: unknown) => logger.debug({ err }, "the worker could not report"));
  again();
  const timer = setInterval(again, everyMs);
  timer.unref();
  return {
    async stop() {
      clearInterval(timer);
      const headers = { "Nats-TTL": `${markerSeconds}s`, "KV-Operation": "DEL" };
      await publish(nats, subject, "", { headers, timeoutMs: 1_000 }).catch(() => undefined);
    },
  };
}

/** All worker processes that live. */
export const workerReports = (nats: Nats): Promise<readonly WorkerReport[]> =>
  liveEntries<WorkerReport>(nats, prefix);

/** What the entries of the bucket `leases` below a prefix hold. */
export async function liveEntries<T>(nats: Nats, below: string): Promise<readonly T[]> {
  const found: T[] = [];
  const filter = `$KV.leases.${below}.>`;
  for (let seq = 1; ; ) {
    const query = { seq, next_by_subj: filter, batch: 500 };
    const { messages, pending } = await getBatch(nats, "KV_leases", query);
    for (const message of messages) {
      if (!isGone(message)) found.push(JSON.parse(message.body) as T);
    }
    const last = messages.at(-1);
    if (!last || pending === 0) return found;
    seq = last.sequence + 1;
  }
}
