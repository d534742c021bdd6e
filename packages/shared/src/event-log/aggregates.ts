/** Loading aggregates and running commands on them, over any event log. Snapshots are not used yet. */
import {
  type AnyAggregate,
  decide,
  fold,
  type InputOf,
  type StateOf,
} from "../aggregate/aggregate.ts";
import { hashId } from "../aggregate/id.ts";
import { classify, conflict } from "../failure/failure.ts";
import type { Sealer } from "../secrets/sealer.ts";
import { eventSubject } from "../topology/subjects.ts";
import { decodeEntry, encodeEvent, holdPersonal } from "./codec.ts";
import type { Entry, EventLog } from "./event-log.ts";
import { newerHistory, newerThan } from "./newer.ts";
import { currentTraceparent } from "../telemetry/tracing.ts";

export type Histories = {
  readonly log: EventLog;
  readonly sealer: Sealer;
  /** Named as the events' source. */
  readonly source: string;
  now(): Date;
};

/** Who asks, and because of what. The seed makes the ids of the decided events, so that twice is once. */
export type CommandCause = {
  readonly tenant: string;
  readonly actor: string;
  readonly causationId?: string;
  readonly correlationId?: string;
  readonly eventSeed: string;
};

const triesMax = 5;

const eventId = (seed: string, index: number): string => hashId(seed, index);

function stateOf<A extends AnyAggregate>(
  of: A,
  entries: readonly Entry[],
  sealer: Sealer,
): StateOf<A> {
  const events = entries.flatMap((entry) => decodeEntry(of.events, entry, sealer) ?? []);
  return fold(of, events);
}

/** An aggregate's state and the sequence of its last event (0: none). Unknown events are skipped but counted. */
export async function loadAggregate<A extends AnyAggregate>(
  { log, sealer }: Pick<Histories, "log" | "sealer">,
  of: A,
  tenant: string,
  id: string,
): Promise<{ state: StateOf<A>; sequence: number; entries: readonly Entry[] }> {
  if (holdPersonal(of.events)) await sealer.ready(tenant);
  const entries = await log.load("EVENTS", eventSubject(tenant, of.name, id));
  return { state: stateOf(of, entries, sealer), sequence: entries.at(-1)?.sequence ?? 0, entries };
}

/**
 * Loads, decides, appends; on a conflict again, at most 5 times, then Failure `conflict` "wrong-sequence". When events
 * of this seed are in the history already, nothing is decided and the answer is that of the first time. A history with
 * events of a newer release is not decided upon: Failure `operator` "newer-history". What the command itself throws
 * passes through.
 */
export async function handleCommand<
  A extends AnyAggregate,
  Name extends keyof A["commands"] & string,
>(
  histories: Histories,
  request: { of: A; id: string; command: Name; input: InputOf<A, Name>; cause: CommandCause },
): Promise<{ position: number; decided: number }> {
  const { of, id, command, input, cause } = request;
  const subject = eventSubject(cause.tenant, of.name, id);
  for (let tries = 1; ; tries += 1) {
    const { state, sequence, entries } = await loadAggregate(histories, of, cause.tenant, id);
    const before = decidedBefore(entries, cause.eventSeed);
    if (before) return before;
    const newer = newerThan(of.events, entries);
    if (newer) throw newerHistory(newer);
    const events = decide(of, state, command, input);
    if (events.length === 0) return { position: sequence, decided: 0 };
    const time = histories.now();
    const added = events.map((event, index) => {
      const envelope = { ...envelopeOf(cause, histories.source), time, subject };
      return encodeEvent(
        event,
        { ...envelope, id: eventId(cause.eventSeed, index) },
        histories.sealer,
      );
    });
    try {
      const position = await histories.log.append("EVENTS", subject, sequence, added);
      return { position, decided: added.length };
    } catch (error) {
      if (classify(error).kind !== "conflict") throw error;
      if (tries >= triesMax) {
        const message = `${of.name} ${id} changed ${triesMax} times meanwhile`;
        throw conflict("wrong-sequence", message, { cause: error });
      }
    }
  }
}

function decidedBefore(entries: readonly Entry[], seed: string) {
  const first = entries.findIndex((entry) => entry.id === eventId(seed, 0));
  if (first < 0) return undefined;
  let decided = 1;
  while (entries[first + decided]?.id === eventId(seed, decided)) decided += 1;
  return { position: entries[first + decided - 1]?.sequence ?? 0, decided };
}

const envelopeOf = (cause: CommandCause, source: string) => ({
  source,
  actor: cause.actor,
  causationId: cause.causationId ?? "",
  correlationId: cause.correlationId ?? cause.causationId ?? cause.eventSeed,
  traceparent: currentTraceparent(),
});
