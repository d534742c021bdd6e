/**
 * Puts jobs back into the queue that are due, and have no item, no schedule and no running attempt: what was lost
 * between journal and queue, down to the loss of the whole stream JOBS.
 */
import type { Database } from "../projection/database.ts";
import { runLeaseKey } from "../topology/subjects.ts";
import type { Engine } from "./engine.ts";
import { classify } from "../failure/failure.ts";
import { appendDecided } from "./decided-events.ts";
import { openJournal } from "./journal-writer.ts";
import { moveOf } from "./next-move.ts";
import type { DueJob, OpenJobs } from "./open-jobs.ts";
import { dropClaim } from "./unique.ts";
import { endUnstarted } from "./unstarted.ts";

export const sweepEveryMs = 10_000;
/** So long after its due time a job with nothing to carry it is taken for lost. */
const lostAfterMs = 30_000;
/** One that is well is looked at again after this long, so that nobody waits behind those that wait for long. */
const lookAgainMs = 60_000;
const batch = 500;
const batchesMax = 20;
const expiredBatch = 100;
/** So long after its end a job's item has come back and told its facts, if the stream JOBS was not lost meanwhile. */
const toldWithinMs = 600_000;
/** Clocks of workers and broker differ by less. */
const skewMs = 60_000;

export type SweeperOptions = {
  readonly engine: Engine;
  readonly db: Database;
  readonly openJobs: OpenJobs;
  /** When the stream JOBS was made: items from before are lost. */
  readonly jobsMadeAt: () => Promise<Date>;
};

/**
 * One pass: ends what expired, puts back what was lost, tells what ended jobs could not; answers how many jobs were put
 * back. Several replicas at once do no harm.
 */
export async function sweep(options: SweeperOptions): Promise<number> {
  const { engine, db, openJobs } = options;
  const late = await openJobs.expired(db, engine.clock.now(), expiredBatch);
  for (const job of late) await endExpired(engine, job);
  let swept = 0;
  for (let turn = 0; turn < batchesMax; turn += 1) {
    const before = new Date(engine.clock.now().getTime() - lostAfterMs);
    const due = await openJobs.due(db, before, batch);
    for (const job of due) if (await putBack(engine, job)) swept += 1;
    await openJobs.looked(db, due, new Date(engine.clock.now().getTime() + lookAgainMs));
    if (due.length < batch) break;
  }
  if (swept > 0) engine.logger.warn({ swept }, "jobs without a work item were queued again");
  await tellLost(options);
  return swept;
}

/** An item is acknowledged after the facts are told, so only those that ended before JOBS was lost may be untold. */
async function tellLost({ engine, db, openJobs, jobsMadeAt }: SweeperOptions): Promise<void> {
  const now = engine.clock.now().getTime();
  const madeAt = (await jobsMadeAt()).getTime();
  // A worker may still be at it.
  const before = new Date(Math.min(madeAt + skewMs, now - lostAfterMs));
  for (let turn = 0; turn < batchesMax; turn += 1) {
    const ended = await openJobs.untold(db, before, batch);
    for (const { item } of ended) await tellFacts(engine, item);
    await openJobs.told(db, ended);
    if (ended.length < batch) {
      await openJobs.toldBefore(db, new Date(now - toldWithinMs));
      return;
    }
  }
}

/** Appends what an ended job decided and the event log does not hold, as its lost item would have done. */
export async function tellFacts(
  engine: Engine,
  job: { readonly tenant: string; readonly jobId: string },
): Promise<void> {
  const journal = await openJournal(engine, job);
  await appendDecided(engine, job.jobId, journal.state());
  if (journal.state().end) await dropClaim(engine, journal, journal.state());
}

async function putBack(engine: Engine, { item, position }: DueJob): Promise<boolean> {
  const running = await engine.leases.held(runLeaseKey(item.tenant, item.family, item.jobId));
  if (running) return false;
  if ((await engine.queue.presence(item)) !== "nothing") return false;
  // The table may be far behind a busy log: a job that has ended would only come back to be found ended.
  if ((await openJournal(engine, item)).state().end) return false;
  // Expecting nothing there: an item that came meanwhile is never replaced.
  return engine.queue.publishIfAbsent(item, position);
}

/** A job that waits in a schedule or for a lease meets no worker at its expiry: it is ended here. */
async function endExpired(engine: Engine, { item }: DueJob): Promise<void> {
  const journal = await openJournal(engine, item);
  const state = journal.state();
  const move = moveOf(state, engine.clock.now());
  if (move.do !== "cancel" || state.everStarted || state.cancel) return;
  try {
    await endUnstarted(engine, journal, move);
  } catch (error) {
    // A worker or a person was faster; the next pass looks again.
    if (classify(error).code !== "wrong-sequence") throw error;
  }
}
