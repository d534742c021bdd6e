/** Events to entries and back: canonical proto3 JSON, with personal fields sealed per tenant. */
import { personalFields } from "@chom/proto/personal";
import type { EventMeta, StoredEvent } from "../aggregate/aggregate.ts";
import type { EventTypes, NewEvent } from "../aggregate/event-types.ts";
import { Failure, failureOf } from "../failure/failure.ts";
import { containsSecret } from "../secrets/secret.ts";
import type { Sealer } from "../secrets/sealer.ts";
import { parseHistorySubject } from "../topology/subjects.ts";
import type { Entry, Envelope, NewEntry } from "./event-log.ts";

/** Most bytes of one entry's body; the broker's own limit is 1 MiB with headers. */
const bodyBytesMax = { EVENTS: 256 * 1024, JOURNAL: 768 * 1024 } as const;

export type EncodeOptions = Omit<Envelope, "type"> & { readonly subject: string };

/**
 * The entry of an event. Fails with `entry-too-large` over 256 KiB (768 KiB in a journal), and with a TypeError when
 * a Secret sits in the data: that is a bug of the caller.
 */
export function encodeEvent(event: NewEvent, options: EncodeOptions, sealer: Sealer): NewEntry {
  const history = parseHistorySubject(options.subject);
  if (!history) throw new TypeError(`${options.subject} is no subject of a history`);
  if (containsSecret(event.data)) throw new TypeError(`a Secret in the data of ${event.name}`);
  const type = event.codec.$type;
  const json = event.codec.toJSON(event.data) as Record<string, unknown>;
  const fields = personalFields[type] ?? [];
  const sealed = fields
    .filter((field) => json[field] !== undefined)
    .map((field) => {
      const plain = Buffer.from(JSON.stringify(json[field]));
      const box = sealer.seal(history.tenant, contextOf(type, field, options), plain);
      return [field, `${box.keyId}:${box.ciphertext.toString("base64")}`] as const;
    });
  const body = JSON.stringify({ ...json, ...Object.fromEntries(sealed) });
  if (Buffer.byteLength(body) > bodyBytesMax[history.stream]) {
    throw failureOf(
      "entry-too-large",
      `${event.name} exceeds ${bodyBytesMax[history.stream]} bytes`,
    );
  }
  return { ...options, type, body };
}

const keyed = new WeakMap<EventTypes, boolean>();

/** True when reading or writing events of these types needs the tenant's keys. */
export function holdPersonal(types: EventTypes): boolean {
  const known = keyed.get(types);
  if (known !== undefined) return known;
  const found = Object.values(types).some(({ codec }) =>
    Object.hasOwn(personalFields, codec.$type),
  );
  keyed.set(types, found);
  return found;
}

/** Bound to its place, so that a sealed field copied into another event does not open. */
const contextOf = (
  type: string,
  field: string,
  { subject, id }: { subject: string; id: string },
) => ["event", type, field, subject, id];

/** What the log knows of an entry beside its data. Fails with `entry-undecodable` on a foreign subject. */
export function metaOf(entry: Entry): EventMeta & { readonly kind: string } {
  const history = parseHistorySubject(entry.subject);
  if (!history) throw undecodable(entry, "its subject is no history");
  return {
    eventId: entry.id,
    time: entry.time,
    tenant: history.tenant,
    kind: history.kind,
    id: history.id,
    position: entry.sequence,
    actor: entry.actor,
    causationId: entry.causationId,
    correlationId: entry.correlationId,
  };
}

/**
 * The event in an entry, or undefined when its type is none of these: an older reader never breaks on a newer
 * event. Fails with `entry-undecodable` when the body is no such message; failures of the sealer pass through.
 */
export function decodeEntry(
  types: EventTypes,
  entry: Entry,
  sealer: Sealer,
): StoredEvent | undefined {
  const name = entry.type.slice(entry.type.lastIndexOf(".") + 1);
  const codec = Object.hasOwn(types, name) ? types[name]?.codec : undefined;
  if (codec?.$type !== entry.type) return undefined;
  const meta = metaOf(entry);
  try {
    const parsed: unknown = JSON.parse(entry.body);
    if (!isObject(parsed)) throw undecodable(entry, "its body is no object");
    const json = { ...parsed };
    for (const field of personalFields[entry.type] ?? []) {
      const sealed = json[field];
      if (typeof sealed !== "string") continue;
      const value = openedOrErased(sealed, field, entry, sealer);
      if (value === erased) json[field] = shownErased(codec, field);
      else json[field] = value;
    }
    return { name, codec, data: codec.fromJSON(json), meta };
  } catch (error) {
    if (error instanceof Failure) throw error;
    throw undecodable(entry, "its body is no such message", error);
  }
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const erased = Symbol("erased");

/** A reader must neither stop nor stumble because a tenant was erased: then its personal fields read as that. */
function openedOrErased(...place: Parameters<typeof opened>): unknown {
  try {
    return opened(...place);
  } catch (error) {
    if (error instanceof Failure && error.code === "tenant-erased") return erased;
    throw error;
  }
}

/** In the field's own form: a word, no message, or JSON that holds nothing. */
function shownErased({ fromJSON }: EventTypes[string]["codec"], field: string): unknown {
  if (field === "jobsJson") return "[]";
  if (field.endsWith("Json")) return "{}";
  const word = "[erased]";
  const read = fromJSON({ [field]: word }) as Record<string, unknown>;
  return typeof read[field] === "string" ? word : undefined;
}

function opened(sealed: string, field: string, entry: Entry, sealer: Sealer): unknown {
  const colon = sealed.lastIndexOf(":");
  const box = {
    keyId: sealed.slice(0, colon),
    ciphertext: Buffer.from(sealed.slice(colon + 1), "base64"),
  };
  const plain = sealer.open(metaOf(entry).tenant, contextOf(entry.type, field, entry), box);
  return JSON.parse(plain.toString()) as unknown;
}

const undecodable = (entry: Entry, why: string, cause?: unknown): Failure =>
  failureOf("entry-undecodable", `${entry.type} at ${entry.sequence}: ${why}`, { cause });
