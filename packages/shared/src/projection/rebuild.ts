/**
 * Building read models again while they are served: beside them, by the same handlers, from everything there ever was;
 * then one transaction makes the served tables and the checkpoints say the same. Dying anywhere before has changed
 * nothing, and the next rebuild starts over. A history that the served model can read and this build cannot keeps the
 * served one as it is.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { eq, inArray, sql } from "drizzle-orm";
import type { EventLog } from "../event-log/event-log.ts";
import { conflict, failureOf } from "../failure/failure.ts";
import type { Sealer } from "../secrets/sealer.ts";
import type { Logger } from "../telemetry/logger.ts";
import { eventFilter, journalFilter } from "../topology/subjects.ts";
import { applyBatch, type Batch, projectionLock } from "./apply-batch.ts";
import { fresh } from "./checkpoint.ts";
import { checkpointTables } from "./checkpoint-tables.ts";
import type { Database, Transaction } from "./database.ts";
import type { Projection } from "./projection.ts";
import { dropShadow, makeShadow, nameOf, takeNotes, takeOver } from "./shadow-tables.ts";

export type Rebuilding = {
  /** The service's name: its schema. */
  readonly service: string;
  readonly db: Database;
  /**
   * The same database, with the service's schema replaced by that of the shadow tables. On connections of its own: it is
   * asked within transactions of `db`, whose pool may be full of those who wait for just these.
   */
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
const approachesMax = 10;
const servedTriesMax = 50;
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
      await sleep(100, undefined, { signal });
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
    }
    await approach(rebuilding, group, { told, signal });
    for (const projection of group) await awaitServed(rebuilding, projection, signal);
    for (const { name } of group) told({ ...nothing, name, phase: "switching" });
    const { positions, ...rows } = await db.transaction((tx) =>
      switchOver(tx, rebuilding, group, [...new Set(own)]),
    );
    for (const { name, source } of group) {
      const streamPosition = await log.tip(source.stream);
      told({ ...rows, name, phase: "done", position: positions.get(name) ?? 0, streamPosition });
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

/** Everybody waits for what is left to do under the locks, so it is made little before; writers may never let it be none. */
async function approach(rebuilding: Rebuilding, group: readonly Projection[], told: Telling) {
  for (let round = 0; round < approachesMax; round += 1) {
    let left = 0;
    for (const projection of group) {
      const tip = await rebuilding.log.tip(projection.source.stream);
      left = Math.max(left, tip - (await catchUp(rebuilding, projection, tip, told)).from);
    }
    if (left <= batchMax) return;
  }
}

/**
 * Gives the served projection time to get as far, so that what it has not seen yet is not counted as wrong. One that
 * stands still is not waited for.
 */
async function awaitServed(
  { service, db, shadow }: Rebuilding,
  { name }: Projection,
  signal: AbortSignal | undefined,
): Promise<void> {
  const { checkpoints } = checkpointTables(service);
  const place = async (of: Database) =>
    (await of.select().from(checkpoints).where(eq(checkpoints.projection, name)))[0];
  const built = await place(shadow);
  for (let tries = 0; tries < servedTriesMax; tries += 1) {
    const served = await place(db);
    if (!built || !served || served.streamEpoch !== built.streamEpoch) return;
    if (served.eventSequence >= built.eventSequence) return;
    await sleep(100, undefined, { signal });
  }
}

/** Applies a batch to the shadow. Nobody else may be at it, since the lock of rebuilds is held. */
async function applyBeside(rebuilding: Rebuilding, projection: Projection, batch: Batch) {
  if (await applyBatch(applyingOf(rebuilding, projection), batch)) return;
  throw running(rebuilding.service);
}

/** What the stream no longer has. Its numbers are not the stream's, so no checkpoint may remember them. */
async function tellPast(rebuilding: Rebuilding, projection: Projection): Promise<void> {
  const { past } = projection.rebuild;
  if (!past) return;
  for await (const entries of past(rebuilding.db)) {
    await applyBeside(rebuilding, projection, { entries, from: 0, to: 0 });
  }
  const { checkpoints } = checkpointTables(rebuilding.service);
  await rebuilding.shadow
    .update(checkpoints)
    .set({ eventSequence: 0, eventId: "" })
    .where(eq(checkpoints.projection, projection.name));
}

type Telling = {
  readonly told?: (step: RebuildStep) => void;
  readonly signal?: AbortSignal | undefined;
};

/** Applies what the stream has up to a position, not its end: who chased that could chase it for ever. */
async function catchUp(
  rebuilding: Rebuilding,
  projection: Projection,
  until: number,
  { told, signal }: Telling = {},
): Promise<{ from: number; position: number }> {
  const { log, shadow, service } = rebuilding;
  const { source, name } = projection;
  const filter =
    source.stream === "EVENTS" ? eventFilter(source.aggregate) : journalFilter(source.family);
  const { checkpoints } = checkpointTables(service);
  const [row] = await shadow.select().from(checkpoints).where(eq(checkpoints.projection, name));
  const from = row?.sequence ?? 0;
  let position = from;
  while (position < until) {
    signal?.throwIfAborted();
    const { entries, lastSequence } = await log.read(source.stream, filter, position, batchMax);
    const to = Math.min(lastSequence, until);
    if (to === position) break;
    const meant = entries.filter(({ sequence }) => sequence <= to);
    await applyBeside(rebuilding, projection, { entries: meant, from: position, to });
    position = to;
    told?.({ ...nothing, name, phase: "building", position, streamPosition: until });
  }
  return { from, position };
}

type Switched = {
  readonly rowsChanged: number;
  readonly rowsTotal: number;
  readonly positions: ReadonlyMap<string, number>;
};

/** Under the locks of the served projections, which stand still meanwhile: what they have seen, then all at once. */
async function switchOver(
  tx: Transaction,
  rebuilding: Rebuilding,
  group: readonly Projection[],
  names: readonly string[],
): Promise<Switched> {
  const { service } = rebuilding;
  const positions = new Map<string, number>();
  for (const projection of group) {
    const { position } = await catchUpWithServed(tx, rebuilding, projection);
    positions.set(projection.name, position);
  }
  await refuseNewStops(tx, rebuilding, group);
  const notes = group.flatMap(({ rebuild }) => rebuild.notes ?? []);
  let [rowsChanged, rowsTotal] = [0, 0];
  for (const name of names) {
    await takeNotes(tx, service, name, notes);
    const { changed, total } = await takeOver(tx, service, name);
    rowsChanged += changed;
    rowsTotal += total;
  }
  await takeOverPlaces(tx, rebuilding, group);
  return { rowsChanged, rowsTotal, positions };
}

/** Takes the projection's lock until the transaction ends; readers have seen what it has seen. */
async function catchUpWithServed(tx: Transaction, rebuilding: Rebuilding, projection: Projection) {
  const { service, log } = rebuilding;
  const { checkpoints } = checkpointTables(service);
  const key = projectionLock(service, projection);
  await tx.execute(sql`select pg_advisory_xact_lock(hashtextextended(${key}, 0))`);
  const [served] = await tx
    .select()
    .from(checkpoints)
    .where(eq(checkpoints.projection, projection.name));
  const { stream } = projection.source;
  const seen = served?.streamEpoch === (await log.epoch(stream)) ? served.sequence : 0;
  return catchUp(rebuilding, projection, Math.min(seen, await log.tip(stream)));
}

/**
 * What the served model could read and this build cannot would be gone from the tables: Failure "rebuild-incomplete",
 * and they stay as they are. A model of another incarnation of the stream shows nothing worth keeping.
 */
async function refuseNewStops(
  tx: Transaction,
  { service, shadow }: Rebuilding,
  group: readonly Projection[],
): Promise<void> {
  const { checkpoints, stops } = checkpointTables(service);
  const mine = group.map(({ name }) => name);
  const served = await tx.select().from(stops).where(inArray(stops.projection, mine));
  const known = new Set(served.map(({ projection, subject }) => `${projection} ${subject}`));
  const built = new Map(
    (await shadow.select().from(checkpoints)).map((row) => [row.projection, row.streamEpoch]),
  );
  const places = await tx.select().from(checkpoints).where(inArray(checkpoints.projection, mine));
  const comparable = new Set(
    places
      .filter(({ projection, streamEpoch }) => built.get(projection) === streamEpoch)
      .map(({ projection }) => projection),
  );
  const lost = (await shadow.select().from(stops)).filter(
    ({ projection, subject }) =>
      comparable.has(projection) && !known.has(`${projection} ${subject}`),
  );
  const [first] = lost;
  if (!first) return;
  const what = `${first.eventType} on ${first.subject} (${first.code}: ${first.message})`;
  throw failureOf(
    "rebuild-incomplete",
    `${lost.length} histories of ${first.projection} cannot be read, like ${what}; nothing was changed`,
  );
}

async function takeOverPlaces(
  tx: Transaction,
  { service, shadow }: Rebuilding,
  group: readonly Projection[],
): Promise<void> {
  const { checkpoints, stops } = checkpointTables(service);
  const mine = group.map(({ name }) => name);
  const [places, stopped] = [
    await shadow.select().from(checkpoints),
    await shadow.select().from(stops),
  ];
  await tx.delete(checkpoints).where(inArray(checkpoints.projection, mine));
  await tx.insert(checkpoints).values(places);
  await tx.delete(stops).where(inArray(stops.projection, mine));
  if (stopped.length > 0) await tx.insert(stops).values(stopped);
}
