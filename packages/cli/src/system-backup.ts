/** A copy of CHOM itself: what the broker and Postgres hold, sealed for somebody who keeps the identity apart. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { failureOf } from "@chom/shared/failure/failure";
import type { Nats } from "@chom/shared/event-log/nats";
import type { Secret } from "@chom/shared/secrets/secret";
import { type CopiedStream, copyStream, streamNames } from "@chom/shared/topology/stream-copy";
import { dumped, type Place } from "./postgres-programs.ts";
import { readSealed, type Sealed, writeSealed } from "./sealed-files.ts";

export type StreamPart = Sealed & CopiedStream & { readonly name: string; readonly file: string };

export type Manifest = {
  readonly format: 1;
  readonly madeAt: string;
  readonly natsVersion: string;
  readonly streams: readonly StreamPart[];
  readonly database: Sealed & { readonly file: string };
  /** What a restored system needs and no backup may hold. */
  readonly keptApart: readonly string[];
};

const manifestFile = "manifest.json.age";

export const keptApart: readonly string[] = [
  "CHOM_ROOT_KEY_FILE: without it nothing that is sealed in events and tables opens again",
  "CHOM_BACKUP_IDENTITY_FILE of the service backup: without it no site's backup opens again",
  "the identity of this backup's recipient",
  "nkey seeds of the broker's users and its configuration",
  "certificates and keys of the services, and the keys that sign callers' tokens",
  "Postgres' roles with their passwords, which are no part of a database",
  "the vault with the sites' backups",
];

/**
 * The queue is only a hint: without it services put back from the journals what is open, and tell the facts of jobs that
 * ended, which they would not do for items that they believe in.
 */
const leftOut = new Set(["JOBS"]);

/**
 * What may lack the end of another comes before it. Snapshots of aggregates are of events that are in the log; a journal
 * holds what its job tells the log; the archive in the database holds every event, and every journal that was pruned
 * meanwhile; the audit goes on from its heads in the database. Tokens come late: a revoked one must not come to life.
 */
export function copyOrder(names: readonly string[]): { before: string[]; after: string[] } {
  const first = ["KV_snapshots", "EVENTS", "JOURNAL"];
  const wanted = names.filter((name) => !leftOut.has(name));
  const rest = wanted.filter((name) => !first.includes(name) && name !== "AUDIT").toSorted();
  return {
    before: [...first.filter((name) => wanted.includes(name)), ...rest],
    after: wanted.filter((name) => name === "AUDIT"),
  };
}

export type Source = {
  readonly nats: Nats;
  readonly place: Place;
  readonly recipients: readonly string[];
  readonly now: () => Date;
  readonly told: (what: string) => void;
};

/** Writes a backup into a new folder; services may go on meanwhile. The manifest comes last: without it there is none. */
export async function backUp(source: Source, folder: string): Promise<Manifest> {
  const { nats, place, recipients, now, told } = source;
  const madeAt = now().toISOString();
  mkdirSync(folder, { mode: 0o700 });
  const streams: StreamPart[] = [];
  const copy = async (name: string) => {
    const { stream, chunks } = await copyStream(nats, name);
    const file = `${name}.stream.age`;
    const sealed = await writeSealed(join(folder, file), recipients, chunks);
    streams.push({ name, file, ...stream, ...sealed });
    told(`${name}: up to ${stream.state.last_seq}, ${sealed.sizeBytes} bytes`);
  };
  const { before, after } = copyOrder(await streamNames(nats));
  for (const name of before) await copy(name);
  const file = "postgres.dump.age";
  const database = { file, ...(await writeSealed(join(folder, file), recipients, dumped(place))) };
  told(`Postgres: ${database.sizeBytes} bytes`);
  for (const name of after) await copy(name);
  const natsVersion = nats.info?.version ?? "";
  const manifest: Manifest = { format: 1, madeAt, natsVersion, streams, database, keptApart };
  await writeSealed(join(folder, manifestFile), recipients, once(JSON.stringify(manifest)));
  return manifest;
}

async function* once(text: string): AsyncGenerator<Buffer> {
  yield Buffer.from(text);
}

/** The manifest of a backup. Fails with `archive-not-authentic`, also for one of an unknown format. */
export async function readManifest(folder: string, identity: Secret): Promise<Manifest> {
  const chunks: Buffer[] = [];
  for await (const chunk of readSealed(join(folder, manifestFile), identity)) chunks.push(chunk);
  const manifest = JSON.parse(Buffer.concat(chunks).toString()) as Manifest;
  if (manifest.format === 1) return manifest;
  throw failureOf("archive-not-authentic", `${folder} has the format ${String(manifest.format)}`);
}
