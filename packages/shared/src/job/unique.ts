/**
 * Unique keys: of all jobs of one name and tenant, at most one with a key is pending. The claim decides who that is; a
 * claim whose job has ended, or was never journaled, is taken over. So nothing has to be freed for the rule to hold.
 */
import { hashId } from "../aggregate/id.ts";
import { failureOf } from "../failure/failure.ts";
import type { Engine } from "./engine.ts";
import type { JobState } from "./job-state.ts";
import { openJournal } from "./journal-writer.ts";

const racesMax = 50;

/** Why a job ends that another one with its unique key was faster than. */
export const duplicateReason = (owner: string): string =>
  `job ${owner} with the same unique key is pending`;

/** A job and the key it wants to have alone. */
export type UniqueWish = {
  readonly tenant: string;
  readonly jobId: string;
  readonly jobName: string;
  readonly uniqueKey: string;
};

const claimKey = ({ family }: Engine, { tenant, jobName, uniqueKey }: UniqueWish): string =>
  `claim.${tenant}.${family}.${hashId(jobName, uniqueKey)}`;

const isPending = ({ queued, end, everStarted }: JobState): boolean =>
  queued !== undefined && !end && !(queued.uniqueUntilStart && everStarted);

const isPendingJob = async (engine: Engine, tenant: string, jobId: string): Promise<boolean> =>
  isPending((await openJournal(engine, { tenant, jobId })).state());

/** The pending job that has this key instead of the given one, if there is one. */
export async function otherOwner(engine: Engine, wish: UniqueWish): Promise<string | undefined> {
  const { owner } = await engine.claims.read(claimKey(engine, wish));
  if (owner === undefined || owner === wish.jobId) return undefined;
  return (await isPendingJob(engine, wish.tenant, owner)) ? owner : undefined;
}

/** Claims the key for the job, or answers the pending job that has it. Repeating it changes nothing. */
export async function claim(engine: Engine, wish: UniqueWish): Promise<string | undefined> {
  const key = claimKey(engine, wish);
  for (let races = 0; races < racesMax; races += 1) {
    const { owner, revision } = await engine.claims.read(key);
    if (owner === wish.jobId) return undefined;
    if (owner !== undefined && (await isPendingJob(engine, wish.tenant, owner))) return owner;
    if (await engine.claims.take(key, wish.jobId, revision)) return undefined;
  }
  throw failureOf("lock-busy", `the unique key of ${wish.jobName} changes hands too fast`);
}

/** What a job's journal says about its key; undefined when it has none. */
export function uniqueOf(
  { tenant, jobId }: { tenant: string; jobId: string },
  { queued }: JobState,
): UniqueWish | undefined {
  if (!queued?.uniqueKey) return undefined;
  return { tenant, jobId, jobName: queued.jobName, uniqueKey: queued.uniqueKey };
}

/** Keeps the bucket small. A claim that stays because this fails is taken over by whoever wants its key. */
export async function dropClaim(
  engine: Engine,
  place: { tenant: string; jobId: string },
  state: JobState,
): Promise<void> {
  const wish = uniqueOf(place, state);
  if (!wish || isPending(state)) return;
  try {
    await engine.claims.drop(claimKey(engine, wish), wish.jobId);
  } catch (error) {
    engine.logger.debug(
      { err: error, jobId: place.jobId },
      "a claim stays until somebody wants it",
    );
  }
}
