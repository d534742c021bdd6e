/** Whether what a job decided can be seen by others: a worker may die between its journal and the event log. */
import { foldJournal } from "@chom/shared/job/job-state";
import { readJournal } from "@chom/shared/job/journal";
import type { App } from "@chom/shared/service/app";
import { journalSubject } from "@chom/shared/topology/subjects";

type Where = { readonly tenant: string; readonly family: string; readonly jobId: string };

/** Ids of the events of histories that were read already, by subject; one that was read too early is asked for later. */
export type Told = Map<string, Promise<ReadonlySet<string>>>;

/**
 * True when the event log holds every event that the job's journal decided; what is missing its family appends when the
 * job's item comes back. True for a job whose journal was archived long ago.
 */
export async function areFactsTold(
  { log, sealer }: Pick<App, "log" | "sealer">,
  { tenant, family, jobId }: Where,
  read: Told = new Map(),
): Promise<boolean> {
  const { decided } = foldJournal(
    await readJournal({ log, sealer }, journalSubject(tenant, family, jobId)),
  );
  for (const subject of new Set(decided.map((event) => event.subject))) {
    const reading =
      read.get(subject) ??
      log.load("EVENTS", subject).then((events) => new Set(events.map(({ id }) => id)));
    read.set(subject, reading);
    const told = await reading;
    const isMissing = decided.some(
      (event) => event.subject === subject && !told.has(event.eventId),
    );
    if (isMissing) return false;
  }
  return true;
}
