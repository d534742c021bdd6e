/** A job's whole journal, wherever it is by now: in the broker, or in the archive after it was pruned. */
import { decodeEntry } from "@chom/shared/event-log/codec";
import type { Entry } from "@chom/shared/event-log/event-log";
import { notFound } from "@chom/shared/failure/failure";
import { type JournalEntry, readJournal } from "@chom/shared/job/journal";
import { journalEvents } from "@chom/shared/job/journal-events";
import type { App } from "@chom/shared/service/app";
import { families } from "@chom/shared/topology/names";
import { journalSubject } from "@chom/shared/topology/subjects";
import { archivedEntries, archivedPlace } from "./history-store.ts";

export type JournalPlace = {
  readonly family: string;
  readonly subject: string;
  /** True when the broker no longer has it. */
  readonly archived: boolean;
  /** The position of its last entry; 0 when archived, because then every read model has seen it. */
  readonly at: number;
};

/** Where a job's journal is; asked of the log, because the read model may not know it yet. Failure "job-not-found". */
export async function journalOf(app: App, tenant: string, jobId: string): Promise<JournalPlace> {
  const found = await Promise.all(
    families.map(async (family) => {
      const subject = journalSubject(tenant, family, jobId);
      const last = await app.log.last("JOURNAL", subject);
      return last ? [{ family, subject, at: last.sequence }] : [];
    }),
  );
  const [newest] = found.flat().toSorted((left, right) => right.at - left.at);
  if (newest) return { ...newest, archived: false };
  const place = await archivedPlace(app.db, tenant, jobId);
  if (!place) throw notFound("job", jobId);
  const { family } = place;
  return { family, subject: journalSubject(tenant, family, jobId), archived: true, at: 0 };
}

/** An entry of a journal; undefined when this build does not know its type. */
export function journalEntryOf(app: Pick<App, "sealer">, entry: Entry): JournalEntry | undefined {
  const stored = decodeEntry(journalEvents, entry, app.sealer);
  if (!stored) return undefined;
  const { name, data, meta } = stored;
  // The name was looked up in `journalEvents`, so name and data belong together.
  return { name, data, meta, traceparent: entry.traceparent } as JournalEntry;
}

/** Its entries, oldest first. */
export async function entriesOf(
  app: App,
  tenant: string,
  jobId: string,
): Promise<JournalPlace & { readonly entries: readonly JournalEntry[] }> {
  const place = await journalOf(app, tenant, jobId);
  if (!place.archived) {
    const entries = await readJournal(app, place.subject);
    // Pruned between the two questions.
    if (entries.length > 0) return { ...place, entries };
  }
  const stored = await archivedEntries(app.db, { tenant, family: place.family, jobId });
  const entries = stored.flatMap((entry) => journalEntryOf(app, entry) ?? []);
  if (entries.length === 0) throw notFound("job", jobId);
  return { ...place, archived: true, entries };
}
