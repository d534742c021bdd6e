/** How an entry's envelope travels: CloudEvents headers, readable with any NATS tool. */
import { parseHistorySubject } from "../topology/subjects.ts";
import type { Entry, NewEntry } from "./event-log.ts";
import type { StoredMessage } from "./nats.ts";

const plain = /^[\x21-\x24\x26-\x7e]*$/;

/** Header values hold printable ASCII only, so anything else is percent-encoded, as CloudEvents asks for. */
export const escaped = (text: string): string =>
  plain.test(text) ? text : text.toWellFormed().replace(/[^\x21-\x7e]|%/gu, encodeURIComponent);

function unescaped(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** The headers of an entry. `Nats-Msg-Id` is its id, so that the broker absorbs quick repeats. */
export function envelopeHeaders(entry: NewEntry): Record<string, string> {
  const history = parseHistorySubject(entry.subject);
  return {
    "Nats-Msg-Id": entry.id,
    "ce-specversion": "1.0",
    "ce-id": entry.id,
    "ce-type": entry.type,
    "ce-source": escaped(entry.source),
    "ce-time": entry.time.toISOString(),
    "ce-subject": history ? `${history.kind}/${history.id}` : entry.subject,
    "content-type": "application/json",
    "chom-tenant": history?.tenant ?? "",
    "chom-actor": escaped(entry.actor),
    "chom-causation": escaped(entry.causationId),
    "chom-correlation": escaped(entry.correlationId),
    ...(entry.traceparent ? { traceparent: escaped(entry.traceparent) } : {}),
  };
}

/** The entry that a stored message holds. A message of a stranger gives empty fields, never an error. */
export function entryOf(message: StoredMessage): Entry {
  const time = new Date(message.header("ce-time"));
  return {
    subject: message.subject,
    sequence: message.sequence,
    body: message.body,
    id: message.header("ce-id"),
    type: message.header("ce-type"),
    source: unescaped(message.header("ce-source")),
    time: Number.isNaN(time.getTime()) ? new Date(0) : time,
    actor: unescaped(message.header("chom-actor")),
    causationId: unescaped(message.header("chom-causation")),
    correlationId: unescaped(message.header("chom-correlation")),
    traceparent: unescaped(message.header("traceparent")),
  };
}
