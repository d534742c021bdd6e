/** Reading, checking and resetting the checkpoint of one projection. */
import { eq } from "drizzle-orm";
import type { EventLog } from "../event-log/event-log.ts";
import { failureOf } from "../failure/failure.ts";
import type { CheckpointTables } from "./checkpoint-tables.ts";
import type { Database } from "./database.ts";
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

/** A checkpoint before everything. */
export const fresh = (projection: Projection, streamEpoch: number) => ({
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
  const there = await log.at(stream, at.eventSequence);
  // Old journals are pruned, so a gap there says nothing.
  if (there?.id === at.eventId || (stream === "JOURNAL" && !there)) return;
  const found = there ? `${there.id || "a stranger"} there` : "nothing";
  throw mismatch(projection, `expected ${at.eventId} at ${at.eventSequence}, found ${found}`);
}

/** Where a reader is in its stream: the entry that it saw last, whoever's it is. */
export type Place = { readonly sequence: number; readonly id: string | undefined };

/**
 * The place with the id of what is there, looked up when it is not known. Failure `checkpoint-mismatch` when the stream
 * ends before it, or has something else there by now: a stream that lost its end gives the same numbers to other
 * entries, and who goes on reading behind its last number never sees them.
 */
export async function checkPlace({ projection, log }: Keeping, place: Place): Promise<Place> {
  const { sequence, id } = place;
  if (sequence === 0) return place;
  const { stream } = projection.source;
  const there = await log.at(stream, sequence);
  if (!there) {
    const tip = await log.tip(stream);
    if (tip >= sequence && stream === "JOURNAL") return place;
    throw mismatch(projection, `it read up to ${sequence}, and the stream ends at ${tip}`);
  }
  if (id !== undefined && there.id !== id) {
    throw mismatch(projection, `expected ${id} at ${sequence}, found ${there.id || "a stranger"}`);
  }
  return { sequence, id: there.id };
}

const mismatch = ({ name, source }: Projection, why: string) =>
  failureOf(
    "checkpoint-mismatch",
    `projection ${name} was not made from this ${source.stream}: ${why}; rebuild it or restore the stream`,
  );
