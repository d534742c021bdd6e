/**
 * Puts jobs back into the queue that are due, and have no item, no schedule and no running attempt: what was lost
 * between journal and queue, down to the loss of the whole stream JOBS.
 */
import type { Database } from "../projection/database.ts";
import { leaseKey } from "../topology/subjects.ts";
import type { Engine } from "./engine.ts";
import { classify } from "../failure/failure.ts";
import { openJournal } from "./journal-writer.ts";
import { moveOf } from "./next-move.ts";
import type { DueJob, OpenJobs } from "./open-jobs.ts";
import { endUnstarted } from "./unstarted.ts";

export const sweepEveryMs = 10_000;
/** So long after its due time a job with nothing to carry it is taken for lost. */
const lostAfterMs = 30_000;
const batch = 500;
const expiredBatch = 100;

export type SweeperOptions = {
  readonly engine: Engine;
  readonly db: Database;
  readonly openJobs: OpenJobs;
};

/** One pass: ends what expired, puts back what was lost; answers how many jobs were put back. Several replicas at once do no harm. */
export async function sweep({ engine, db, openJobs }: SweeperOptions): Promise<number> {
  const late = await openJobs.expired(db, engine.clock.now(), expiredBatch);
  for (const job of late) await endExpired(engine, job);
  const before = new Date(engine.clock.now().getTime() - lostAfterMs);
  const due = await openJobs.due(db, before, batch);
  let swept = 0;
  for (const job of due) if (await putBack(engine, job)) swept += 1;
  if (swept > 0) engine.logger.warn({ swept }, "jobs without a work item were queued again");
  return swept;
}

async function putBack(engine: Engine, { item, position }: DueJob): Promise<boolean> {
  const running = await engine.leases.held(leaseKey(item.tenant, "run", item.jobId));
  if (running) return false;
  if ((await engine.queue.presence(item)) !== "nothing") return false;
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
