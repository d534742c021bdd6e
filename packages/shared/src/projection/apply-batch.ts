/** Applying a batch of entries to a read model: in stream order, rows and checkpoint in one transaction. */
import { and, eq, sql } from "drizzle-orm";
import { decodeEntry, holdPersonal, metaOf } from "../event-log/codec.ts";
import type { Entry } from "../event-log/event-log.ts";
import { checkProducer } from "../event-log/producer.ts";
import { classify } from "../failure/failure.ts";
import { scrub } from "../secrets/scrub.ts";
import type { Sealer } from "../secrets/sealer.ts";
import type { Logger } from "../telemetry/logger.ts";
import { timed } from "../telemetry/metrics.ts";
import { parseTraceparent } from "../telemetry/trace.ts";
import { inSpan, isTracing } from "../telemetry/tracing.ts";
import type { CheckpointTables } from "./checkpoint-tables.ts";
import type { Database, Transaction } from "./database.ts";
import type { Projection } from "./projection.ts";
import { isPassing } from "./sql-errors.ts";

export type Applying = {
  /** The service's name: its schema. */
  readonly service: string;
  readonly projection: Projection;
  readonly tables: CheckpointTables;
  readonly db: Database;
  readonly sealer: Sealer;
  readonly logger: Logger;
  /** Whose turn it is among those who build the same tables; default the projection's own. */
  readonly lock?: string;
};

export type Batch = {
  readonly entries: readonly Entry[];
  /** The checkpoint that the batch was read after. */
  readonly from: number;
  readonly to: number;
};

/** Somebody else applied meanwhile, or is at it now. */
class Overtaken extends Error {}
/** An event failed; carries nothing, since the batch is applied again more carefully. */
class EventFailed extends Error {}

/**
 * True when the batch was applied; false when another process is the active one or has moved the checkpoint. At first
 * without savepoints; when an event fails, once more with one per event, so that only its own history stops.
 */
export async function applyBatch(applying: Applying, batch: Batch): Promise<boolean> {
  const { name } = applying.projection;
  const from = performance.now();
  const apply = () => applied(applying, batch);
  const wasApplied = isTracing() ? await traced(name, batch.entries, apply) : await apply();
  const tookMs = performance.now() - from;
  if (wasApplied) timed("chom_projection_batch_seconds", { projection: name }, tookMs);
  return wasApplied;
}

/** A batch of one trace belongs to it; one of several is a trace of its own, linked to each. */
function traced(
  projection: string,
  entries: readonly Entry[],
  apply: () => Promise<boolean>,
): Promise<boolean> {
  const causes = [...new Set(entries.map(({ traceparent }) => traceparent))].filter(isKept);
  const [first] = causes;
  if (first === undefined) return apply();
  const place = causes.length === 1 ? { parent: first } : { parent: "", links: causes };
  const facts = { "chom.projection": projection, "chom.entries": entries.length };
  return inSpan({ name: `project ${projection}`, kind: "consumer", ...place, facts }, apply);
}

const isKept = (traceparent: string): boolean => parseTraceparent(traceparent)?.sampled === true;

async function applied(applying: Applying, batch: Batch): Promise<boolean> {
  if (holdPersonal(applying.projection.from)) {
    const tenants = new Set(batch.entries.map((entry) => metaOf(entry).tenant));
    for (const tenant of tenants) await applying.sealer.ready(tenant);
  }
  for (const carefully of [false, true]) {
    try {
      await applying.db.transaction((tx) => applyIn(tx, applying, batch, carefully));
      return true;
    } catch (error) {
      if (error instanceof Overtaken) return false;
      if (!(error instanceof EventFailed)) throw error;
    }
  }
  return false;
}

async function applyIn(tx: Transaction, applying: Applying, batch: Batch, carefully: boolean) {
  const { projection, tables } = applying;
  await becomeActive(tx, applying, batch.from);
  const stopped = new Set(
    (
      await tx
        .select({ subject: tables.stops.subject })
        .from(tables.stops)
        .where(eq(tables.stops.projection, projection.name))
    ).map(({ subject }) => subject),
  );
  for (const entry of batch.entries) {
    if (stopped.has(entry.subject)) await countSkipped(tx, applying, entry);
    else if (!carefully) await applyQuickly(tx, applying, entry);
    else if (!(await applyCarefully(tx, applying, entry))) stopped.add(entry.subject);
  }
  const last = batch.entries.at(-1);
  await tx
    .update(tables.checkpoints)
    .set({
      sequence: batch.to,
      updatedAt: sql`now()`,
      ...(last ? { eventSequence: last.sequence, eventId: last.id } : {}),
    })
    .where(eq(tables.checkpoints.projection, projection.name));
}

/** Name of the advisory lock that whoever moves a projection on holds. */
export const projectionLock = (service: string, { name }: Projection): string =>
  `projection/${service}/${name}`;

/** One active projector: the lock is for this transaction, the checkpoint tells whether another one was quicker. */
async function becomeActive(
  tx: Transaction,
  { service, projection, tables, lock }: Applying,
  from: number,
) {
  const key = lock ?? projectionLock(service, projection);
  const [turn] = await tx
    .select({ got: sql<boolean>`pg_try_advisory_xact_lock(hashtextextended(${key}, 0))` })
    .from(sql`(values (1)) as one`);
  if (!turn?.got) throw new Overtaken();
  const [row] = await tx
    .select({ sequence: tables.checkpoints.sequence })
    .from(tables.checkpoints)
    .where(eq(tables.checkpoints.projection, projection.name))
    .for("update");
  if (row?.sequence !== from) throw new Overtaken();
}

async function applyEvent(tx: Transaction, { projection, sealer }: Applying, entry: Entry) {
  const event = decodeEntry(projection.from, entry, sealer);
  if (!event || !Object.hasOwn(projection.on, event.name)) return;
  checkProducer(entry);
  const { kind, ...meta } = metaOf(entry);
  const family = projection.source.stream === "JOURNAL" ? kind : "";
  await projection.on[event.name]?.(event.data, { ...meta, family }, tx);
}

async function applyQuickly(tx: Transaction, applying: Applying, entry: Entry): Promise<void> {
  try {
    await applyEvent(tx, applying, entry);
  } catch (error) {
    if (isPassing(error)) throw error;
    throw new EventFailed("an event failed", { cause: error });
  }
}

/** False when the event failed: its history is stopped and recorded, everything else goes on. */
async function applyCarefully(tx: Transaction, applying: Applying, entry: Entry): Promise<boolean> {
  try {
    await tx.transaction((inner) => applyEvent(inner, applying, entry));
    return true;
  } catch (error) {
    if (isPassing(error)) throw error;
    const { code, message } = classify(error);
    const { projection, tables, logger } = applying;
    const stop = {
      projection: projection.name,
      subject: entry.subject,
      sequence: entry.sequence,
      eventId: entry.id,
      eventType: entry.type,
      code,
      message: scrub(message, 1_000),
    };
    await tx.insert(tables.stops).values(stop).onConflictDoNothing();
    logger.error(
      { alert: "projection-stopped", ...stop, err: error },
      "an event failed: its history is no longer projected",
    );
    return false;
  }
}

async function countSkipped(tx: Transaction, { projection, tables }: Applying, entry: Entry) {
  await tx
    .update(tables.stops)
    .set({ skipped: sql`${tables.stops.skipped} + 1` })
    .where(
      and(eq(tables.stops.projection, projection.name), eq(tables.stops.subject, entry.subject)),
    );
}
