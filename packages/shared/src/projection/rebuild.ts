/**
 * Building read models again while they are served: beside them, by the same handlers, from everything there ever was;
 * then one transaction makes the served tables and the checkpoints say the same. Dying anywhere before has changed
 * nothing, and the next rebuild starts over.
 */
import { eq, inArray, sql } from "drizzle-orm";
import type { EventLog } from "../event-log/event-log.ts";
import { conflict } from "../failure/failure.ts";
import type { Sealer } from "../secrets/sealer.ts";
import type { Logger } from "../telemetry/logger.ts";
import { eventFilter, journalFilter } from "../topology/subjects.ts";
import { applyBatch, projectionLock } from "./apply-batch.ts";
import { fresh } from "./checkpoint.ts";
import { type CheckpointTables, checkpointTables } from "./checkpoint-tables.ts";
import type { Database, Transaction } from "./database.ts";
import type { Projection } from "./projection.ts";
import { dropShadow, makeShadow, nameOf, takeNotes, takeOver } from "./shadow-tables.ts";

export type Rebuilding = {
  /** The service's name: its schema. */
  readonly service: string;
  readonly db: Database;
  /** The same database, with the service's schema replaced by that of the shadow tables. */
  readonly shadow: Database;
  readonly log: EventLog;
  readonly sealer: Sealer;
  readonly logger: Logger;
  /** Runs `work` when no other replica holds the lock of this name; answers whether it did. */
  readonly exclusively: (name: string, work: () => Promise<void>) => Promise<boolean>;
};

export type RebuildStep = {
  readonly name: string;
  readonly phase: "building" | "switching" | "done";
  readonly position: number;
  readonly streamPosition: number;
  readonly rowsChanged: number;
  readonly rowsTotal: number;
};

const batchMax = 500;
const lock = (service: string) => `rebuild/${service}`;

/** Projections that write the same tables have to be rebuilt together. */
export function groupsOf(
  projections: readonly Projection[],
  names: readonly string[],
): (readonly Projection[])[] {
  const groups: Projection[][] = [];
  for (const projection of projections) {
    const tables = new Set(projection.rebuild.tables.map(nameOf));
    const touching = groups.filter((group) =>
      group.some((other) => other.rebuild.tables.some((table) => tables.has(nameOf(table)))),
    );
    for (const group of touching) groups.splice(groups.indexOf(group), 1);
    groups.push([...touching.flat(), projection]);
  }
  return names.length === 0
    ? groups
    : groups.filter((group) => group.some(({ name }) => names.includes(name)));
}

/** Rebuilds one group; Failure `conflict` "rebuild-running" when somebody else of this service is at it. */
export async function rebuildGroup(
  rebuilding: Rebuilding,
  group: readonly Projection[],
  told: (step: RebuildStep) => void,
  signal?: AbortSignal,
): Promise<void> {
  const { service, exclusively } = rebuilding;
  const pauses = group.flatMap(({ rebuild }) => rebuild.pauses ?? [])[0];
  const work = () => rebuildAlone(rebuilding, group, told, signal);
  const resting = async () => {
    // The tick holds its lock only while it runs.
    for (let tries = 0; pauses !== undefined && tries < 600; tries += 1) {
      if (await exclusively(`tick:${pauses}`, work)) return;
      await new Promise((done) => setTimeout(done, 100));
    }
    if (pauses !== undefined) throw running(service);
    await work();
  };
  if (!(await exclusively("rebuild", resting))) throw running(service);
}

const running = (service: string) =>
  conflict("rebuild-running", `read models of ${service} are being rebuilt already`);

async function rebuildAlone(
  rebuilding: Rebuilding,
  group: readonly Projection[],
  told: (step: RebuildStep) => void,
  signal: AbortSignal | undefined,
): Promise<void> {
  const { service, db, shadow, log } = rebuilding;
  const tables = checkpointTables(service);
  const own = group.flatMap(({ rebuild }) => rebuild.tables.map(nameOf));
  const beside = group.flatMap(({ rebuild }) => (rebuild.beside ?? []).map(nameOf));
  const machinery = [nameOf(tables.checkpoints), nameOf(tables.stops)];
  await makeShadow(db, service, [...own, ...beside, ...machinery]);
  try {
    for (const projection of group) {
      const epoch = await log.epoch(projection.source.stream);
      await shadow.insert(tables.checkpoints).values(fresh(projection, epoch));
      await tellPast(rebuilding, projection);
      signal?.throwIfAborted();
      const tip = await log.tip(projection.source.stream);
      await catchUp(rebuilding, projection, tip, { told, signal });
    }
    for (const { name } of group) told({ ...nothing, name, phase: "switching" });
    const rows = await db.transaction((tx) => switchOver(tx, rebuilding, group, [...new Set(own)]));
    for (const { name, source } of group) {
      const streamPosition = await log.tip(source.stream);
      told({ ...rows, name, phase: "done", position: streamPosition, streamPosition });
    }
  } finally {
    await dropShadow(db, service);
  }
}

const nothing = { position: 0, streamPosition: 0, rowsChanged: 0, rowsTotal: 0 };

const applyingOf = (rebuilding: Rebuilding, projection: Projection) => ({
  ...rebuilding,
  ...{ projection, db: rebuilding.shadow, tables: checkpointTables(rebuilding.service) },
  lock: lock(rebuilding.service),
});

/** What the stream no longer has. Its numbers are not the stream's, so no checkpoint may remember them. */
async function tellPast(rebuilding: Rebuilding, projection: Projection): Promise<void> {
  const { past } = projection.rebuild;
  if (!past) return;
  for await (const entries of past(rebuilding.db)) {
    await applyBatch(applyingOf(rebuilding, projection), { entries, from: 0, to: 0 });
  }
  const { checkpoints } = checkpointTables(rebuilding.service);
  await rebuilding.shadow
    .update(checkpoints)
    .set({ eventSequence: 0, eventId: "" })
    .where(eq(checkpoints.projection, projection.name));
}

/** Applies what the stream has up to a position at least: who chased its end could chase it for ever. */
async function catchUp(
  rebuilding: Rebuilding,
  projection: Projection,
  until: number,
  { told, signal }: { told?: (step: RebuildStep) => void; signal?: AbortSignal | undefined } = {},
): Promise<void> {
  const { log, shadow, service } = rebuilding;
  const { source, name } = projection;
  const filter =
    source.stream === "EVENTS" ? eventFilter(source.aggregate) : journalFilter(source.family);
  const { checkpoints } = checkpointTables(service);
  const [row] = await shadow.select().from(checkpoints).where(eq(checkpoints.projection, name));
  for (let from = row?.sequence ?? 0; from < until; ) {
    signal?.throwIfAborted();
    const { entries, lastSequence: to } = await log.read(source.stream, filter, from, batchMax);
    if (to === from) return;
    await applyBatch(applyingOf(rebuilding, projection), { entries, from, to });
    from = to;
    const streamPosition = Math.max(from, until);
    told?.({ ...nothing, name, phase: "building", position: from, streamPosition });
  }
}

/** Under the locks of the served projections, which stand still meanwhile: what they have seen, then all at once. */
async function switchOver(
  tx: Transaction,
  rebuilding: Rebuilding,
  group: readonly Projection[],
  names: readonly string[],
): Promise<{ rowsChanged: number; rowsTotal: number }> {
  const { service, shadow, log } = rebuilding;
  const tables: CheckpointTables = checkpointTables(service);
  for (const projection of group) {
    const key = projectionLock(service, projection);
    await tx.execute(sql`select pg_advisory_xact_lock(hashtextextended(${key}, 0))`);
    const served = await tx
      .select()
      .from(tables.checkpoints)
      .where(eq(tables.checkpoints.projection, projection.name));
    const epoch = await log.epoch(projection.source.stream);
    // Readers have seen so much already.
    const seen = served[0]?.streamEpoch === epoch ? served[0].sequence : 0;
    await catchUp(rebuilding, projection, Math.min(seen, await log.tip(projection.source.stream)));
  }
  const notes = group.flatMap(({ rebuild }) => rebuild.notes ?? []);
  let [rowsChanged, rowsTotal] = [0, 0];
  for (const name of names) {
    await takeNotes(tx, service, name, notes);
    const { changed, total } = await takeOver(tx, service, name);
    rowsChanged += changed;
    rowsTotal += total;
  }
  const mine = group.map(({ name }) => name);
  const [checkpoints, stops] = [
    await shadow.select().from(tables.checkpoints),
    await shadow.select().from(tables.stops),
  ];
  await tx.delete(tables.checkpoints).where(inArray(tables.checkpoints.projection, mine));
  await tx.insert(tables.checkpoints).values(checkpoints);
  await tx.delete(tables.stops).where(inArray(tables.stops.projection, mine));
  if (stops.length > 0) await tx.insert(tables.stops).values(stops);
  return { rowsChanged, rowsTotal };
}
