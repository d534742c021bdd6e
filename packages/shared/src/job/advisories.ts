/** Items that the broker gave up on after too many deliveries are queued anew: the journal decides about the job. */
import { getFromLeader, type Nats } from "../event-log/nats.ts";
import { type Pulled, pull } from "../event-log/pull.ts";
import { lostConsumer } from "../topology/consumers.ts";
import type { Family } from "../topology/names.ts";
import { parseWorkSubject } from "../topology/subjects.ts";
import { sleep } from "./clock.ts";
import type { Engine } from "./engine.ts";
import type { Queue } from "./job.ts";

const waitMs = 5_000;
const troubleMs = 2_000;

/** Follows the advisories of one family's consumers until the signal aborts. */
export async function followAdvisories(
  engine: Engine,
  nats: Nats,
  family: Family,
  signal: AbortSignal,
): Promise<void> {
  const consumer = lostConsumer(family);
  while (!signal.aborted) {
    try {
      const told = await pull(nats, { stream: "ADVISORIES", consumer, batch: 16, waitMs, signal });
      for (const advisory of told) await queueAnew(engine, nats, family, advisory);
    } catch (error) {
      engine.logger.warn({ err: error }, "following advisories failed; going on");
      await sleep(engine.clock, troubleMs, signal);
    }
  }
}

async function queueAnew(
  engine: Engine,
  nats: Nats,
  family: Family,
  advisory: Pulled,
): Promise<void> {
  const { stream_seq: sequence } = JSON.parse(advisory.body) as { stream_seq: number };
  const query = { seq: sequence, next_by_subj: `job.${family}.>` };
  const stuck = await getFromLeader(nats, "JOBS", query);
  const parts = stuck?.sequence === sequence ? parseWorkSubject(stuck.subject) : undefined;
  if (parts) {
    const { tenant, jobId } = parts;
    const item = { family, queue: parts.queue as Queue, tenant, jobId };
    // Takes the stuck one's place, with its deliveries counted from the beginning. The negative cause is no
    // journal's sequence, so it is never taken for a repeat of an ordinary publishing.
    await engine.queue.publish(item, -sequence);
    engine.logger.error({ jobId, sequence }, "alert: a work item was delivered too often");
  }
  await advisory.ackSure();
}
