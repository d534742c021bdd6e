/** The signer's own look into the journal: is this job running now, for this server, of this caller's family? */
import type { EventLog } from "@chom/shared/event-log/event-log";
import { isId } from "@chom/shared/aggregate/id";
import { failureOf } from "@chom/shared/failure/failure";
import { readJournal } from "@chom/shared/job/journal";
import { foldJournal } from "@chom/shared/job/job-state";
import type { Sealer } from "@chom/shared/secrets/sealer";
import { isFamily } from "@chom/shared/topology/names";
import { journalSubject } from "@chom/shared/topology/subjects";

export type JobClaim = {
  readonly tenant: string;
  readonly jobId: string;
  readonly fence: string;
  readonly serverId: string;
};

const refused = (why: string) => failureOf("signer-refused", why);

/**
 * Failure `signer-refused` unless the journal of `family` says that the job runs under exactly this fence and is
 * about this server. The caller's words are claims; only the journal is believed.
 */
export async function checkRunningJob(
  parts: { readonly log: EventLog; readonly sealer: Sealer },
  family: string | undefined,
  { tenant, jobId, fence, serverId }: JobClaim,
): Promise<void> {
  if (family === undefined || !isFamily(family)) throw refused("only a job family may ask");
  if (![tenant, jobId, serverId].every(isId)) throw refused("tenant, job or server is no id");
  const state = foldJournal(await readJournal(parts, journalSubject(tenant, family, jobId)));
  if (!state.queued) throw refused("the caller's family has no such job");
  if (state.queued.serverId !== serverId) throw refused("the job is about another server");
  if (!state.running || state.end) throw refused("the job is not running");
  const epoch = await parts.log.epoch("JOURNAL");
  if (fence !== `${epoch}.${state.running.sequence}`) throw refused("a newer attempt is running");
}
