/** Reading, checking and resetting the checkpoint of one projection. */
import { eq } from "drizzle-orm";
import type { Entry, EventLog } from "../event-log/event-log.ts";
import { failureOf } from "../failure/failure.ts";
import type { CheckpointTables } from "./checkpoint-tables.ts";
import type { Database, Transaction } from "./database.ts";
import type { Projection } from "./projection.ts";

export type Checkpoint = CheckpointTables["checkpoints"]["$inferSelect"];

export type Keeping = {
  readonly projection: Projection;
  readonly tables: CheckpointTables;
  readonly db: Database;
  readonly log: EventLog;
};

/** The checkpoint; made at sequence 0 when there is none. */
export async function loadCheckpoint({
  projection,
  tables,
  db,
  log,
}: Keeping): Promise<Checkpoint> {
  const { checkpoints } = tables;
  const mine = () =>
    db.select().from(checkpoints).where(eq(checkpoints.projection, projection.name));
  const [found] = await mine();
  if (found) return found;
  const streamEpoch = await log.epoch(projection.source.stream);
  await db.insert(checkpoints).values(fresh(projection, streamEpoch)).onConflictDoNothing();
  const [made] = await mine();
  if (!made) throw failureOf("unexpected", `the checkpoint of ${projection.name} vanished`);
  return made;
}

const fresh = (projection: Projection, streamEpoch: number) => ({
  projection: projection.name,
  streamEpoch,
  sequence: 0,
  eventSequence: 0,
  eventId: "",
});

/** Failure `checkpoint-mismatch` when the stream is another incarnation than the read model was made from. */
export async function checkEpoch({ projection, log }: Keeping, at: Checkpoint): Promise<void> {
  const epoch = await log.epoch(projection.source.stream);
  if (epoch !== at.streamEpoch) {
    throw mismatch(projection, `the stream's epoch is ${epoch}, not ${at.streamEpoch}`);
  }
}

/** Failure `checkpoint-mismatch` when the stream has another event where the last applied one was. */
export async function checkEvent({ projection, log }: Keeping, at: Checkpoint): Promise<void> {
  if (at.eventSequence === 0) return;
  const { stream } = projection.source;
  const all = stream === "EVENTS" ? "evt.>" : "jrn.>";
  const { entries } = await log.read(stream, all, at.eventSequence - 1, 1);
  const there: Entry | undefined = entries[0];
  const same = there?.sequence === at.eventSequence && there.id === at.eventId;
  // Old journals are pruned, so a gap there says nothing.
  const pruned = stream === "JOURNAL" && there?.sequence !== at.eventSequence;
  if (same || pruned) return;
  const found = there ? `${there.id || "a stranger"} at ${there.sequence}` : "nothing";
  throw mismatch(projection, `expected ${at.eventId} at ${at.eventSequence}, found ${found}`);
}

const mismatch = ({ name, source }: Projection, why: string) =>
  failureOf(
    "checkpoint-mismatch",
    `projection ${name} was not made from this ${source.stream}: ${why}; rebuild it or restore the stream`,
  );

/**
 * Starts a projection over: `clear` removes its rows in the same transaction that resets the checkpoint and forgets
 * the stops. Running projectors notice within a second.
 */
export async function rebuild(
  keeping: Keeping,
  clear: (tx: Transaction) => Promise<unknown>,
): Promise<void> {
  const { projection, tables, db, log } = keeping;
  await loadCheckpoint(keeping);
  const start = fresh(projection, await log.epoch(projection.source.stream));
  await db.transaction(async (tx) => {
    await tx
      .update(tables.checkpoints)
      .set(start)
      .where(eq(tables.checkpoints.projection, projection.name));
    await tx.delete(tables.stops).where(eq(tables.stops.projection, projection.name));
    await clear(tx);
  });
}
