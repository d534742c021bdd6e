/** A job's journal: its entries as events, read and written through the event log. */
import type { EventMeta } from "../aggregate/aggregate.ts";
import type { DataOf } from "../aggregate/event-types.ts";
import { decodeEntry } from "../event-log/codec.ts";
import type { Entry, EventLog } from "../event-log/event-log.ts";
import { newerThan } from "../event-log/newer.ts";
import type { Sealer } from "../secrets/sealer.ts";
import { journalEvents } from "./journal-events.ts";

/** One entry; `name` tells what `data` is. */
export type JournalEntry = {
  readonly [Name in keyof typeof journalEvents & string]: {
    readonly name: Name;
    readonly data: DataOf<(typeof journalEvents)[Name]>;
    readonly meta: EventMeta;
    readonly traceparent: string;
  };
}[keyof typeof journalEvents & string];

/** The event in an entry of a journal; undefined when its type is unknown. */
export function journalEntryOf(sealer: Sealer, entry: Entry): JournalEntry | undefined {
  const stored = decodeEntry(journalEvents, entry, sealer);
  if (!stored) return undefined;
  const { name, data, meta } = stored;
  // The name was looked up in `journalEvents`, so name and data belong together.
  return { name, data, meta, traceparent: entry.traceparent } as JournalEntry;
}

/** The entries of a journal after a sequence, oldest first; entries of unknown types are left out. */
export async function readJournal(
  { log, sealer }: { log: EventLog; sealer: Sealer },
  subject: string,
  afterSequence = 0,
): Promise<readonly JournalEntry[]> {
  return (await readWhole({ log, sealer }, subject, afterSequence)).entries;
}

/** The same, with the first entry that only a newer release knows. */
export async function readWhole(
  { log, sealer }: { log: EventLog; sealer: Sealer },
  subject: string,
  afterSequence = 0,
): Promise<{ entries: readonly JournalEntry[]; newer: Entry | undefined }> {
  const stored = await log.load("JOURNAL", subject, afterSequence);
  return {
    entries: stored.flatMap((entry) => journalEntryOf(sealer, entry) ?? []),
    newer: newerThan(journalEvents, stored),
  };
}
