/**
 * The ceiling: the same messages as one job of the engine, with the same acknowledgements and the same order, sent
 * with nothing but the broker's client. Reads are left out.
 */
import { envelopeHeaders } from "@chom/shared/event-log/envelope";
import type { Entry, EventLog } from "@chom/shared/event-log/event-log";
import { type Nats, publish, valueOf } from "@chom/shared/event-log/nats";
import { type Pulled, pull } from "@chom/shared/event-log/pull";
import { keepBusy, type Load } from "./engine-run.ts";
import { tenant } from "./noop-job.ts";

/** What one job of the engine left behind. */
export type Sample = {
  readonly id: string;
  readonly journal: readonly Entry[];
  readonly events: readonly Entry[];
};

/** Reads the histories of a job that has ended. */
export const sampleOf = async (log: EventLog, id: string): Promise<Sample> => ({
  id,
  journal: await log.load("JOURNAL", `jrn.${tenant}.backup.${id}`),
  events: await log.load("EVENTS", `evt.${tenant}.backups.${id}`),
});

const expecting = (sequence: number) => ({
  "Nats-Expected-Last-Subject-Sequence": String(sequence),
});

function writer(nats: Nats, sample: Sample) {
  const put = async (subject: string, body: string, headers: Record<string, string>) =>
    valueOf(await publish(nats, subject, body, { headers }), subject).seq;
  return {
    put,
    async append(entry: Entry | undefined, id: string, nth: string, expected: number) {
      if (!entry) throw new TypeError("the sample is not whole");
      const subject = entry.subject.replace(sample.id, id);
      const headers = envelopeHeaders({ ...entry, subject, id: `${id}-${nth}` });
      return put(subject, entry.body, { ...headers, ...expecting(expected) });
    },
  };
}

/** Runs the load; answers the seconds. */
export async function runRaw(nats: Nats, sample: Sample, load: Load): Promise<number> {
  const { put, append } = writer(nats, sample);
  const [queued, started, completed] = sample.journal;
  const waiting = new Map<string, { sequence: number; resolve: () => void }>();
  const over = new AbortController();

  async function work(item: Pulled): Promise<void> {
    const id = item.subject.split(".").at(-1) ?? "";
    const { sequence = 0, resolve } = waiting.get(id) ?? {};
    const lease = `$KV.leases.run.${tenant}.backup.${id}`;
    const holder = JSON.stringify({ owner: id, holder: id });
    const held = await put(lease, holder, { "Nats-TTL": "30s", ...expecting(0) });
    const begun = await append(started, id, "started", sequence);
    await append(completed, id, "completed", begun);
    await append(sample.events[0], id, "event", 0);
    const gone = { "Nats-TTL": "5s", "KV-Operation": "DEL", ...expecting(held) };
    await Promise.all([put(lease, "", gone), item.ackSure()]);
    waiting.delete(id);
    resolve?.();
  }
  const pulling = (async () => {
    const from = { stream: "JOBS", consumer: "backup-default" };
    while (!over.signal.aborted) {
      const first = await pull(nats, { ...from, batch: 1, waitMs: 1_000, signal: over.signal });
      for (const item of first) void work(item);
      if (load.inFlight === 1) continue;
      for (const item of await pull(nats, { ...from, batch: 256, waitMs: 0 })) void work(item);
    }
  })();
  try {
    return await keepBusy(load, async (index) => {
      const id = `${load.prefix}-${index}`;
      const sequence = await append(queued, id, "queued", 0);
      const ended = new Promise<void>((resolve) => {
        waiting.set(id, { sequence, resolve });
      });
      const body = JSON.stringify({ queued });
      await put(`job.backup.default.${tenant}.${id}`, body, { "Nats-Msg-Id": `${id}:1` });
      await ended;
    });
  } finally {
    over.abort();
    await pulling;
  }
}
