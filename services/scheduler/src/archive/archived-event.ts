/** What is archived of an event, and the chain that each history forms. Pure. */
import { createHash } from "node:crypto";
import { envelopeHeaders } from "@chom/shared/event-log/envelope";
import type { Entry } from "@chom/shared/event-log/event-log";
import { parseHistorySubject } from "@chom/shared/topology/subjects";

/** The parts of an event that are compared byte by byte. */
export type Content = {
  readonly subject: string;
  readonly eventId: string;
  readonly type: string;
  readonly headers: string;
  readonly body: Buffer;
};

/** Hash before the first event of a history. */
export const noHash: Buffer = Buffer.alloc(32);

export const contentOf = (entry: Entry): Content => ({
  subject: entry.subject,
  eventId: entry.id,
  type: entry.type,
  headers: JSON.stringify(envelopeHeaders(entry)),
  body: Buffer.from(entry.body),
});

export const tenantOf = (subject: string): string => parseHistorySubject(subject)?.tenant ?? "";

/**
 * SHA-256 over the hash before, the version and every part. Where the log has the event is not part of it: a restored
 * log may number it anew, and the history's head stays the same.
 */
export function chainHash(previous: Buffer, version: number, content: Content): Buffer {
  const { subject, eventId, type, headers, body } = content;
  const head = JSON.stringify([version, subject, eventId, type, headers, body.length]);
  return createHash("sha256").update(previous).update(head).update("\n").update(body).digest();
}

export const isSameContent = (left: Content, right: Content): boolean =>
  left.eventId === right.eventId &&
  left.type === right.type &&
  left.headers === right.headers &&
  left.body.equals(right.body);
