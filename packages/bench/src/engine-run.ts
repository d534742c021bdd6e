/** Jobs through the real engine, end to end, with so many between dispatch and acknowledgement at any time. */
import { createDispatch } from "@chom/shared/job/dispatch";
import type { Engine } from "@chom/shared/job/engine";
import type { Delivery } from "@chom/shared/job/work-queue";
import { startWorkers } from "@chom/shared/job/worker";
import { type NoopJob, tenant } from "./noop-job.ts";

export type Load = { readonly jobs: number; readonly inFlight: number; readonly prefix: string };

/** Keeps `inFlight` of `one(index)` going until `jobs` have ended; answers the seconds it took. */
export async function keepBusy(
  { jobs, inFlight }: Pick<Load, "jobs" | "inFlight">,
  one: (index: number) => Promise<void>,
): Promise<number> {
  const startedAt = performance.now();
  let next = 0;
  const lane = async () => {
    while (next < jobs) {
      next += 1;
      await one(next);
    }
  };
  await Promise.all(Array.from({ length: Math.min(inFlight, jobs) }, lane));
  return (performance.now() - startedAt) / 1_000;
}

/** An engine that tells when a job's item was acknowledged: then all of its history is stored. */
function telling(engine: Engine) {
  const waiting = new Map<string, () => void>();
  const told = (delivery: Delivery): Delivery => ({
    ...delivery,
    async ack() {
      await delivery.ack();
      waiting.get(delivery.jobId)?.();
      waiting.delete(delivery.jobId);
    },
  });
  const take: Engine["queue"]["take"] = async (...from) =>
    (await engine.queue.take(...from)).map(told);
  return {
    engine: { ...engine, queue: { ...engine.queue, take } },
    acknowledged: (jobId: string) =>
      new Promise<void>((resolve) => {
        waiting.set(jobId, resolve);
      }),
  };
}

/** Runs the load; answers the seconds. */
export async function runEngine(real: Engine, made: NoopJob, load: Load): Promise<number> {
  const { engine, acknowledged } = telling(real);
  const workers = startWorkers({ engine, concurrency: load.inFlight });
  const dispatch = createDispatch(engine);
  try {
    return await keepBusy(load, async (index) => {
      const id = `${load.prefix}-${index}`;
      const ended = acknowledged(id);
      await dispatch({ job: made, jobId: id, tenant, actor: "bench", input: { id } });
      await ended;
    });
  } finally {
    await workers.stop(5_000);
  }
}
