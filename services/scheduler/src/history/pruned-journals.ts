/** Entries of journals that the broker no longer has, for whoever builds a read model from all there ever was. */
import type { Entry } from "@chom/shared/event-log/event-log";
import type { Database } from "@chom/shared/projection/database";
import { journalSubject } from "@chom/shared/topology/subjects";
import { and, asc, eq, isNotNull, sql } from "drizzle-orm";
import { history, historyJobs } from "./history-tables.ts";

const batchMax = 500;

/** In the order in which the broker had them, oldest first, in batches. */
export async function* prunedJournals(db: Database): AsyncIterable<readonly Entry[]> {
  const sameJob = and(
    eq(historyJobs.tenant, history.tenant),
    eq(historyJobs.family, history.family),
    eq(historyJobs.jobId, history.jobId),
    eq(historyJobs.streamEpoch, history.streamEpoch),
  );
  let after = { streamEpoch: 0, sequence: 0 };
  for (;;) {
    const rows = await db
      .select({ entry: history })
      .from(history)
      .innerJoin(historyJobs, sameJob)
      .where(
        and(
          isNotNull(historyJobs.purgedAt),
          sql`(${history.streamEpoch}, ${history.sequence}) > (${after.streamEpoch}, ${after.sequence})`,
        ),
      )
      .orderBy(asc(history.streamEpoch), asc(history.sequence))
      .limit(batchMax);
    const last = rows.at(-1)?.entry;
    if (!last) return;
    yield rows.map(({ entry }) => ({
      ...entry,
      id: entry.eventId,
      subject: journalSubject(entry.tenant, entry.family, entry.jobId),
    }));
    after = last;
  }
}
