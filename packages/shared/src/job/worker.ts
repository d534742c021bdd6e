/** A worker: takes items while it has free places, and hands them to `deliver`. */
import { classify } from "../failure/failure.ts";
import type { Ticket } from "../lease/tickets.ts";
import { sleep } from "./clock.ts";
import { deliver } from "./deliver.ts";
import { itemOf } from "./dispatch.ts";
import type { Engine } from "./engine.ts";
import { openJournal } from "./journal-writer.ts";
import {
  noLimits,
  placesLeft,
  reasonToStop,
  type StopReason,
  type WorkLimits,
} from "./work-limits.ts";
import type { Delivery } from "./work-queue.ts";

export type Workers = {
  /** How many jobs are in hand. */
  running(): number;
  /** Takes nothing until `resume`; jobs in hand go on, and so do the limits. */
  pause(): void;
  resume(): void;
  isPaused(): boolean;
  /** Settles when a limit ended the work and the jobs in hand have ended; never because of `stop`. */
  readonly ended: Promise<StopReason>;
  /**
   * Stops taking, lets jobs end for `graceMs`, then aborts the rest: those are given back at once, without a spent
   * attempt. Answers when nothing runs, at the latest 15 s after the grace.
   */
  stop(graceMs: number): Promise<void>;
};

export type WorkerSettings = {
  readonly engine: Engine;
  /** Jobs at a time in this process, 1 to 1,000. */
  readonly concurrency: number;
  /** Default none: all queues, for ever. */
  readonly limits?: WorkLimits | undefined;
  /** What the process holds in memory; default its resident set. */
  readonly memoryBytes?: () => number;
};

const afterFailureMs = 1_000;
const abortMs = 15_000;
/** How late a limit of time or memory is noticed while nothing happens. */
const lookMs = 1_000;

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
async function wake(engine: Engine, ticket: Ticket): Promise<"woken" | "gone"> {
  if (ticket.family !== engine.family) return "woken";
  const tenant = ticket.key.split(".")[0] ?? "";
  const journal = await openJournal(engine, { tenant, jobId: ticket.owner });
  const { queued, end } = journal.state();
  if (!queued || end) {
    await engine.tickets.drop(ticket);
    return "gone";
  }
  const item = itemOf(engine.family, { tenant, jobId: ticket.owner }, queued);
  // A wait is journaled once, but a waiter may be woken often: no wake-up may be taken for a repeat of the last one.
  await engine.queue.publish(item, -engine.clock.now().getTime());
  return "woken";
}

/** The jobs in hand, and a bell that rings when one of them ends or something else changes. */
function hands(engine: Engine, stopping: AbortSignal) {
  const running = new Set<Promise<void>>();
  let ring = () => {};
  return {
    size: () => running.size,
    take(delivery: Delivery): void {
      const handled = handle(engine, delivery, stopping);
      running.add(handled);
      void handled.finally(() => {
        running.delete(handled);
        ring();
      });
    },
    ring: () => ring(),
    /** Until the bell rings, at most so long. */
    changed: (maxMs?: number) =>
      new Promise<void>((resolve) => {
        const cancel = maxMs === undefined ? () => {} : engine.clock.after(maxMs, resolve);
        ring = () => {
          cancel();
          resolve();
        };
      }),
    async empty(): Promise<void> {
      while (running.size > 0) await Promise.allSettled(running);
    },
  };
}

/** What the loop and the switches share. */
type Shift = {
  readonly settings: WorkerSettings;
  readonly limits: WorkLimits;
  readonly taking: AbortSignal;
  readonly inHand: ReturnType<typeof hands>;
  isPaused: boolean;
  taken: number;
  foundEmpty: boolean;
  /** Waited a moment for more places; now it takes however few there are. */
  gathered: boolean;
  /** Aborted to end the waiting for items early. */
  look: AbortController;
};

/** A moment, in which more places come free; the more places there are, the less one of them is missed meanwhile. */
const gather = (concurrency: number) =>
  new Promise<void>((resolve) => {
    if (concurrency >= 64) setTimeout(resolve, 2);
    else setImmediate(resolve);
  });

/** Takes what it has places for; waits while it has none, is paused, or there is nothing. */
async function takeOnce(shift: Shift): Promise<void> {
  const { settings, limits, inHand, taking } = shift;
  const { engine, concurrency } = settings;
  if (shift.isPaused) return inHand.changed(lookMs);
  const running = inHand.size();
  const free = placesLeft(limits, { concurrency, running, taken: shift.taken });
  if (free === 0) return inHand.changed();
  // Places that come free one by one are filled together: asking for each would cost more than its job.
  if (free < concurrency / 8 && running > 0 && !shift.gathered) {
    shift.gathered = true;
    return gather(concurrency);
  }
  shift.gathered = false;
  const look = new AbortController();
  shift.look = look;
  if (taking.aborted) return;
  const isTimed = limits.maxTimeMs !== undefined || limits.memoryBytes !== undefined;
  const cancel = isTimed ? engine.clock.after(lookMs, () => look.abort()) : () => {};
  try {
    const from = { queues: limits.queues, wait: !limits.stopWhenEmpty };
    const taken = await engine.queue.take(free, look.signal, from);
    shift.taken += taken.length;
    shift.foundEmpty = taken.length === 0 && !look.signal.aborted;
    for (const delivery of taken) inHand.take(delivery);
  } finally {
    cancel();
  }
}

/** Takes until it is told to stop, or a limit says so. */
async function takeAll(shift: Shift): Promise<StopReason | undefined> {
  const { settings, limits, taking } = shift;
  const { engine, memoryBytes = () => process.memoryUsage.rss() } = settings;
  const startedAt = engine.clock.now().getTime();
  while (!taking.aborted) {
    const elapsedMs = engine.clock.now().getTime() - startedAt;
    const { taken, foundEmpty } = shift;
    const held = limits.memoryBytes === undefined ? 0 : memoryBytes();
    const reason = reasonToStop(limits, { taken, foundEmpty, elapsedMs, memoryBytes: held });
    if (reason) return reason;
    try {
      await takeOnce(shift);
    } catch (error) {
      engine.logger.warn({ err: error }, "taking work failed; trying again");
      await sleep(engine.clock, afterFailureMs, taking);
    }
  }
  return undefined;
}

/** Starts taking work. */
export function startWorkers(settings: WorkerSettings): Workers {
  const { engine, limits = noLimits } = settings;
  const taking = new AbortController();
  const stopping = new AbortController();
  const inHand = hands(engine, stopping.signal);
  const unlisten = engine.tickets.onReleased((ticket) =>
    wake(engine, ticket).catch((error: unknown) => {
      engine.logger.debug({ err: error }, "a waiter was not woken; it looks again by itself");
      return "woken";
    }),
  );
  const shift: Shift = {
    ...{ settings, limits, inHand, taking: taking.signal },
    ...{
      isPaused: false,
      taken: 0,
      foundEmpty: false,
      gathered: false,
      look: new AbortController(),
    },
  };
  const lookAgain = () => {
    shift.look.abort();
    inHand.ring();
  };
  const { promise: ended, resolve: end } = Promise.withResolvers<StopReason>();
  const looping = takeAll(shift).then(async (reason) => {
    if (!reason) return;
    engine.report?.({ work: "worker-stopping", reason });
    await inHand.empty();
    unlisten();
    end(reason);
  });
  const turn = (isPaused: boolean) => {
    if (shift.isPaused === isPaused) return;
    shift.isPaused = isPaused;
    engine.report?.({ work: isPaused ? "worker-paused" : "worker-resumed" });
    lookAgain();
  };
  return {
    running: inHand.size,
    pause: () => turn(true),
    resume: () => turn(false),
    isPaused: () => shift.isPaused,
    ended,
    async stop(graceMs) {
      unlisten();
      taking.abort();
      lookAgain();
      // The loop may hold a job's place: it is never waited for longer than the jobs.
      const over = async () => {
        await looping;
        await inHand.empty();
      };
      const gone = over();
      await Promise.race([gone, sleep(engine.clock, graceMs)]);
      stopping.abort();
      await Promise.race([gone, sleep(engine.clock, abortMs)]);
    },
  };
}
