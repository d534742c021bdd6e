/** Putting CHOM back from a copy: into an empty broker and an empty database, after everything was verified. */
import { join } from "node:path";
import { failureOf } from "@chom/shared/failure/failure";
import { jetstreamLog } from "@chom/shared/event-log/jetstream-log";
import { type LostEvent, writeBack } from "@chom/shared/event-log/write-back";
import { api, type Nats, valueOf } from "@chom/shared/event-log/nats";
import type { Secret } from "@chom/shared/secrets/secret";
import { apply } from "@chom/shared/topology/apply";
import { renewEpoch, restoreStream, streamNames } from "@chom/shared/topology/stream-copy";
import { epochKey, topology } from "@chom/shared/topology/topology";
import { type Place, restoreDump, rowsOf, tableCount } from "./postgres-programs.ts";
import { readSealed, verifySealed } from "./sealed-files.ts";
import { type Manifest, readManifest, type StreamPart } from "./system-backup.ts";

export type Target = {
  readonly nats: Nats;
  /** The user who may write back what the log lacks. */
  readonly archivist: Nats;
  readonly place: Place;
  readonly identity: Secret;
  readonly replicas: 1 | 3;
  readonly nowMs: number;
  readonly told: (what: string) => void;
};

/** Failure `rejected` "not-empty" when anything is there already. */
async function refuseUnlessEmpty({ nats, place }: Target): Promise<void> {
  const streams = await streamNames(nats);
  if (streams.length > 0) {
    throw failureOf("not-empty", `the broker has streams already: ${streams.join(", ")}`);
  }
  const tables = await tableCount(place);
  if (tables > 0) throw failureOf("not-empty", `the database has ${tables} tables already`);
}

type Info = {
  readonly config: { readonly metadata?: Record<string, string> };
  readonly state: object;
};

/** One stream with its own sequences, and then under a newer epoch than it ever had. */
async function putBack(target: Target, folder: string, part: StreamPart): Promise<void> {
  const { nats, identity, replicas, nowMs } = target;
  const config = { ...part.config, num_replicas: replicas };
  const chunks = readSealed(join(folder, part.file), identity);
  await restoreStream(nats, part.name, { config, state: part.state }, chunks);
  const info = valueOf(await api<Info>(nats, `STREAM.INFO.${part.name}`), `asking ${part.name}`);
  const { last_seq: last } = info.state as { last_seq: number };
  if (last !== part.state.last_seq) {
    throw failureOf("unexpected", `${part.name} ends at ${last}, not at ${part.state.last_seq}`);
  }
  const epoch = Number(info.config.metadata?.[epochKey] ?? 0);
  await renewEpoch(nats, part.name, epochKey, Math.max(nowMs, epoch + 1));
}

type Row = Omit<LostEvent, "body"> & { readonly base64: string };

/**
 * The log was copied before the database, whose archive went on: what the log lacks goes back now. Once jobs go on, their
 * events would take its places.
 */
async function completeLog({ archivist, place }: Target, logEnd: number): Promise<number> {
  const query = `select json_build_object('subject', subject, 'version', version, 'eventId', event_id,
      'headersJson', headers, 'base64', replace(encode(body, 'base64'), chr(10), ''))
    from scheduler.event_archive where sequence is null or sequence > ${logEnd} order by ordinal`;
  async function* lost(): AsyncGenerator<LostEvent> {
    for await (const line of rowsOf(place, query)) {
      const { base64, ...event } = JSON.parse(line) as Row;
      yield { ...event, body: Buffer.from(base64, "base64").toString() };
    }
  }
  return writeBack(jetstreamLog(archivist), lost(), () => {});
}

/**
 * Verifies all of a backup, refuses unless broker and database are empty, and puts it back. Cut short it has to be begun
 * anew with an empty broker; the database is filled in one transaction.
 */
export async function restore(target: Target, folder: string): Promise<Manifest> {
  const { nats, place, identity, replicas, nowMs, told } = target;
  const manifest = await readManifest(folder, identity);
  await refuseUnlessEmpty(target);
  const { streams, database } = manifest;
  for (const part of [...streams, database]) {
    await verifySealed(join(folder, part.file), identity, part);
  }
  told(`the backup of ${manifest.madeAt} is whole`);
  await restoreDump(place, readSealed(join(folder, database.file), identity));
  told("Postgres is back");
  for (const part of streams) {
    await putBack(target, folder, part);
    told(`${part.name} is back, up to ${part.state.last_seq}`);
  }
  const made = await apply(nats, topology({ replicas }), { nowMs });
  for (const { what, did } of made) told(`${what} was ${did}`);
  const logEnd = streams.find(({ name }) => name === "EVENTS")?.state.last_seq ?? 0;
  told(`${await completeLog(target, logEnd)} events came from the archive`);
  return manifest;
}
