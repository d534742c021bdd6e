/** Events that outcomes decide: written ahead in the journal, then appended to the event log, each exactly once. */
import type { DecidedEvent } from "@chom/proto/chom/jobs/v1/journal";
import { decide } from "../aggregate/aggregate.ts";
import { hashId } from "../aggregate/id.ts";
import { loadAggregate } from "../event-log/aggregates.ts";
import { encodeEvent } from "../event-log/codec.ts";
import type { NewEntry } from "../event-log/event-log.ts";
import { classify } from "../failure/failure.ts";
import { currentTraceparent } from "../telemetry/tracing.ts";
import { eventSubject } from "../topology/subjects.ts";
import type { Engine } from "./engine.ts";
import type { AnyJob } from "./job.ts";
import type { JobState } from "./job-state.ts";

/** Where the history ended when an event was decided: the likely place to append it, if nobody was faster. */
const decidedBehind = new WeakMap<DecidedEvent, number>();

export type Decision = {
  readonly job: AnyJob;
  readonly tenant: string;
  readonly jobId: string;
  readonly state: JobState;
  /** Name of a command of the job's aggregate; undefined decides nothing. */
  readonly command: string | undefined;
  readonly input: unknown;
  /** `started`, `done`, `failed`, …; with the generation it makes the events' ids. */
  readonly phase: string;
};

const envelopeOf = (engine: Engine, jobId: string, state: JobState) => ({
  source: engine.family,
  actor: state.queued?.actor ?? "system",
  causationId: jobId,
  correlationId: state.queued?.correlationId ?? jobId,
  traceparent: currentTraceparent() || (state.queued?.traceparent ?? ""),
});

/** What the command decides now. A command that throws although it must not is logged and decides nothing. */
export async function decideEvents(engine: Engine, decision: Decision): Promise<DecidedEvent[]> {
  const { job, tenant, jobId, state, command, phase } = decision;
  const id = state.queued?.aggregateId;
  if (command === undefined || id === undefined) return [];
  const subject = eventSubject(tenant, job.aggregate.name, id);
  const { state: current, sequence } = await loadAggregate(engine, job.aggregate, tenant, id);
  try {
    const time = engine.clock.now();
    return decide(job.aggregate, current, command, decision.input).map((event, index) => {
      const eventId = hashId(jobId, state.generation, phase, index);
      const envelope = { ...envelopeOf(engine, jobId, state), id: eventId, time, subject };
      const { type, body } = encodeEvent(event, envelope, engine.sealer);
      const decided = { eventId, subject, type, dataJson: body, time };
      decidedBehind.set(decided, sequence);
      return decided;
    });
  } catch (error) {
    engine.logger.error(
      { err: error, jobId, command },
      "an outcome command threw; it decides nothing",
    );
    return [];
  }
}

const entryOf =
  (engine: Engine, jobId: string, state: JobState) =>
  (event: DecidedEvent): NewEntry => ({
    ...envelopeOf(engine, jobId, state),
    id: event.eventId,
    type: event.type,
    time: event.time ?? state.queued?.at ?? new Date(0),
    subject: event.subject,
    body: event.dataJson,
  });

const appendsMax = 50;

/**
 * Appends what this process just decided for one history without reading that again. False when somebody else wrote
 * there meanwhile, or it was decided elsewhere: then the history must be read.
 */
async function appendAtOnce(
  engine: Engine,
  wanted: readonly DecidedEvent[],
  entries: readonly NewEntry[],
): Promise<boolean> {
  const [first] = wanted;
  const behind = first && decidedBehind.get(first);
  if (!first || behind === undefined || wanted.some((each) => decidedBehind.get(each) !== behind)) {
    return false;
  }
  for (const each of wanted) decidedBehind.delete(each);
  try {
    await engine.log.append("EVENTS", first.subject, behind, entries);
    return true;
  } catch (error) {
    if (classify(error).code !== "wrong-sequence") throw error;
    return false;
  }
}

/** Appends what a journal decided and the event log does not hold yet, found by id. Repeating it changes nothing. */
export async function appendDecided(engine: Engine, jobId: string, state: JobState): Promise<void> {
  const subjects = new Set(state.decided.map(({ subject }) => subject));
  for (const subject of subjects) {
    const wanted = state.decided.filter((event) => event.subject === subject);
    if (await appendAtOnce(engine, wanted, wanted.map(entryOf(engine, jobId, state)))) continue;
    for (let times = 1; ; times += 1) {
      const stored = await engine.log.load("EVENTS", subject);
      const ids = new Set(stored.map(({ id }) => id));
      const missing = wanted.filter(({ eventId }) => !ids.has(eventId));
      if (missing.length === 0) break;
      const entries = missing.map(entryOf(engine, jobId, state));
      try {
        await engine.log.append("EVENTS", subject, stored.at(-1)?.sequence ?? 0, entries);
        break;
      } catch (error) {
        if (classify(error).code !== "wrong-sequence" || times >= appendsMax) throw error;
      }
    }
  }
}
