/** Ending a job that never started: nothing has to be taken back, so no worker is needed. */
import type { NewEvent } from "../aggregate/event-types.ts";
import { classify } from "../failure/failure.ts";
import { appendDecided, decideEvents } from "./decided-events.ts";
import type { Engine } from "./engine.ts";
import type { AnyJob } from "./job.ts";
import { journalEvents } from "./journal-events.ts";
import type { Authorship, JournalWriter } from "./journal-writer.ts";
import { inputOf } from "./payload.ts";

export type Ending = {
  readonly reason: string;
  readonly actor: string;
  /** Entries that come before the end, in the same append. */
  readonly before?: readonly NewEvent[];
  readonly as?: Authorship;
};

/** An input that cannot be opened hinders no cancel: the command is then told nothing of it. */
async function openedInput(engine: Engine, job: AnyJob, journal: JournalWriter): Promise<unknown> {
  const { tenant, jobId } = journal;
  try {
    await engine.sealer.ready(tenant);
    return inputOf(engine.sealer, job, { tenant, jobId, input: journal.state().queued?.input });
  } catch (error) {
    engine.logger.error({ err: classify(error), jobId }, "cancelling without the job's input");
    return undefined;
  }
}

/** JobCancelled with what it decides. Failure `conflict` "wrong-sequence" when somebody was faster, a worker say. */
export async function endUnstarted(
  engine: Engine,
  journal: JournalWriter,
  { reason, actor, before = [], as }: Ending,
): Promise<void> {
  const state = journal.state();
  const { tenant, jobId } = journal;
  const job = engine.jobs.get(state.queued?.jobName ?? "");
  const input = job && (await openedInput(engine, job, journal));
  const asker = state.queued?.actor ?? "system";
  const told = { jobId, input, at: engine.clock.now(), tenant, actor: asker, reason };
  const command = job?.cancelled;
  const phase = "cancelled";
  const events =
    job && input !== undefined
      ? await decideEvents(engine, { job, tenant, jobId, state, command, input: told, phase })
      : [];
  await journal.request(
    [...before, journalEvents.JobCancelled({ reason, actor, events, openServerIds: [] })],
    as,
  );
  await appendDecided(engine, jobId, journal.state());
}
