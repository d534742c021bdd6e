/** A worker: takes items while it has free places, and hands them to `deliver`. */
import { classify } from "../failure/failure.ts";
import type { Ticket } from "../lease/tickets.ts";
import { sleep } from "./clock.ts";
import { deliver } from "./deliver.ts";
import { itemOf } from "./dispatch.ts";
import type { Engine } from "./engine.ts";
import { openJournal } from "./journal-writer.ts";
import type { Delivery } from "./work-queue.ts";

export type Workers = {
  /** How many jobs are in hand. */
  running(): number;
  /**
   * Stops taking, lets jobs end for `graceMs`, then aborts the rest: those are given back at once, without a spent
   * attempt. Answers when nothing runs, at the latest 15 s after the grace.
   */
  stop(graceMs: number): Promise<void>;
};

const afterFailureMs = 1_000;
const abortMs = 15_000;

async function handle(engine: Engine, delivery: Delivery, stopping: AbortSignal): Promise<void> {
  try {
    await deliver(engine, delivery, stopping);
  } catch (error) {
    const { code } = classify(error);
    engine.logger.error({ err: error, jobId: delivery.jobId, code }, "an item was not handled");
    delivery.nak(afterFailureMs * Math.min(delivery.deliveries, 5));
  }
}

/** Somebody gave a lease back: the oldest waiter, if it is one of ours, gets its turn now. */
async function wake(engine: Engine, ticket: Ticket): Promise<void> {
  if (ticket.family !== engine.family) return;
  const tenant = ticket.key.split(".")[0] ?? "";
  const journal = await openJournal(engine, { tenant, jobId: ticket.owner });
  const { queued, end, sequence } = journal.state();
  if (!queued || end) return engine.tickets.drop(ticket);
  const item = itemOf(engine.family, { tenant, jobId: ticket.owner }, queued);
  await engine.queue.publish(item, sequence);
}

/** Starts taking work. `concurrency`: jobs at a time in this process, 1 to 256. */
export function startWorkers(settings: { engine: Engine; concurrency: number }): Workers {
  const { engine, concurrency } = settings;
  const taking = new AbortController();
  const stopping = new AbortController();
  const running = new Set<Promise<void>>();
  const unlisten = engine.tickets.onReleased((ticket) => {
    wake(engine, ticket).catch((error: unknown) => {
      engine.logger.debug({ err: error }, "a waiter was not woken; it looks again by itself");
    });
  });
  async function takeWhileFree(): Promise<void> {
    const free = concurrency - running.size;
    if (free <= 0) return void (await Promise.race(running));
    const taken = await engine.queue.take(free, taking.signal);
    for (const delivery of taken) {
      const handled = handle(engine, delivery, stopping.signal);
      running.add(handled);
      void handled.finally(() => running.delete(handled));
    }
  }
  async function loop(): Promise<void> {
    while (!taking.signal.aborted) {
      try {
        await takeWhileFree();
      } catch (error) {
        engine.logger.warn({ err: error }, "taking work failed; trying again");
        await sleep(engine.clock, afterFailureMs, taking.signal);
      }
    }
  }
  const looping = loop();
  const ended = async () => {
    while (running.size > 0) await Promise.allSettled(running);
  };
  return {
    running: () => running.size,
    async stop(graceMs) {
      unlisten();
      taking.abort();
      await looping;
      await Promise.race([ended(), sleep(engine.clock, graceMs)]);
      stopping.abort();
      await Promise.race([ended(), sleep(engine.clock, abortMs)]);
    },
  };
}
