/** Carries out what was asked of a family's jobs: cancel, clear, retry, resume, forget. Only the family writes their journals. */
import { JobControlRequested } from "@chom/proto/chom/jobs/v1/control";
import type { EventMeta } from "../aggregate/aggregate.ts";
import { eventTypes } from "../aggregate/event-types.ts";
import { hashId } from "../aggregate/id.ts";
import { classify } from "../failure/failure.ts";
import { type Reactor, reactor } from "../reactor/reactor.ts";
import { appendDecided } from "./decided-events.ts";
import { itemOf } from "./dispatch.ts";
import type { Engine } from "./engine.ts";
import type { JobState } from "./job-state.ts";
import { journalEvents } from "./journal-events.ts";
import { type JournalWriter, openJournal } from "./journal-writer.ts";
import { claim, uniqueOf } from "./unique.ts";
import { endUnstarted } from "./unstarted.ts";

const racesMax = 20;

type Wish = {
  readonly actor: string;
  readonly reason: string;
  readonly eventId: string;
  /** The end that the wish is about; 0: whatever end there is. */
  readonly about: number;
};

/** The reactor `<family>-job-control`. What a job's state forbids by now is dropped: the caller was told at the request. */
export const jobControl = (engine: Engine): Reactor =>
  reactor({
    name: "job-control",
    aggregate: "job-control",
    from: eventTypes({ JobControlRequested }),
    on: {
      async JobControlRequested({ family, jobId, verb, actor, reason, aboutSequence }, meta) {
        if (family !== engine.family) return [];
        const wish = { actor, reason, eventId: meta.eventId, about: Number(aboutSequence) || 0 };
        await carryOut(engine, { jobId, verb, wish }, meta);
        return [];
      },
    },
  });

async function carryOut(
  engine: Engine,
  { jobId, verb, wish }: { jobId: string; verb: string; wish: Wish },
  meta: EventMeta,
): Promise<void> {
  const journal = await openJournal(engine, { tenant: meta.tenant, jobId });
  const act = verbs[verb];
  if (!act || !journal.state().queued) {
    engine.logger.warn(
      { jobId, verb },
      "a wish for an unknown job or of an unknown kind is dropped",
    );
    return;
  }
  for (let race = 1; ; race += 1) {
    try {
      await act(engine, journal, wish);
      return;
    } catch (error) {
      if (classify(error).code !== "wrong-sequence" || race >= racesMax) throw error;
    }
  }
}

type Verb = (engine: Engine, journal: JournalWriter, wish: Wish) => Promise<void>;

const verbs: Readonly<Record<string, Verb>> = { cancel, clear, retry, resume, forget };

const authorship = ({ actor, eventId }: Wish, names: readonly string[]) => ({
  actor,
  causationId: eventId,
  // The same wish carried out twice is one entry.
  ids: names.map((name) => hashId(eventId, name)),
});

/** A job that never started ends here; for any other the worker ends it, after taking back what was done. */
async function cancel(engine: Engine, journal: JournalWriter, wish: Wish): Promise<void> {
  const state = journal.state();
  const { queued } = state;
  // Makes good what a process that died after the entry left undone.
  if (!queued || state.end) return appendDecided(engine, journal.jobId, state);
  if (state.cancel) return putInQueue(engine, journal);
  const { actor, reason } = wish;
  const requested = journalEvents.JobCancelRequested({ actor, reason });
  if (state.everStarted) {
    await journal.request([requested], authorship(wish, ["requested"]));
    return putInQueue(engine, journal);
  }
  await endUnstarted(engine, journal, {
    reason,
    actor,
    before: [requested],
    as: authorship(wish, ["requested", "cancelled"]),
  });
}

/** Cancels what has never started; a start that comes first wins, because both are appends at the same place. */
async function clear(engine: Engine, journal: JournalWriter, wish: Wish): Promise<void> {
  const { everStarted, parked } = journal.state();
  if (!everStarted && !parked) await cancel(engine, journal, wish);
}

/** A failure that can still be retried or forgotten, and is the one that the wish is about. */
const isMeant = ({ end, forgotten }: JobState, { about }: Wish): boolean =>
  end?.name === "JobFailed" && !forgotten && (about === 0 || about === end.sequence);

async function retry(engine: Engine, journal: JournalWriter, wish: Wish): Promise<void> {
  const state = journal.state();
  if (isMeant(state, wish)) {
    const { actor, reason } = wish;
    const generation = state.generation + 1;
    const retried = journalEvents.JobRetried({ generation, actor, reason });
    await journal.request([retried], authorship(wish, ["retried"]));
    // So that it is found pending; one that is pending already does not hinder a person's retry.
    const unique = uniqueOf(journal, journal.state());
    if (unique) await claim(engine, unique);
  }
  await putInQueue(engine, journal);
}

async function resume(engine: Engine, journal: JournalWriter, wish: Wish): Promise<void> {
  if (journal.state().parked) {
    const { actor, reason } = wish;
    await journal.request(
      [journalEvents.JobResumed({ actor, reason })],
      authorship(wish, ["resumed"]),
    );
  }
  await putInQueue(engine, journal);
}

async function forget(_: Engine, journal: JournalWriter, wish: Wish): Promise<void> {
  if (!isMeant(journal.state(), wish)) return;
  const { actor, reason } = wish;
  const forgotten = journalEvents.JobForgotten({ actor, reason });
  await journal.request([forgotten], authorship(wish, ["forgotten"]));
}

/** Harmless for a job that a worker has: the run lease is held, and the item is acknowledged. */
async function putInQueue(engine: Engine, { tenant, jobId, state }: JournalWriter): Promise<void> {
  const { queued, end, sequence, cancel } = state();
  if (!queued || end) return;
  const item = itemOf(engine.family, { tenant, jobId }, queued);
  const publish = () => engine.queue.publish(item, sequence);
  // A tenant's thousand retries stand in line like its new jobs; what is to be stopped waits for nobody.
  await (cancel || !engine.admission ? publish() : engine.admission.offer(item, publish));
}
