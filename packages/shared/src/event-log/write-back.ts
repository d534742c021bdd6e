/** Writing back events that the broker has lost: in their first order, with their ids, nothing twice. */
import { failureOf, operator } from "../failure/failure.ts";
import type { ConsumerSettings } from "../topology/consumers.ts";
import { entryOf, envelopeHeaders } from "./envelope.ts";
import type { EventLog, NewEntry } from "./event-log.ts";
import { api, type Nats, valueOf } from "./nats.ts";

/** An event as the archive has it. */
export type LostEvent = {
  readonly subject: string;
  /** Place in its history, from 1. */
  readonly version: number;
  readonly eventId: string;
  /** The message's headers as a JSON object. */
  readonly headersJson: string;
  readonly body: string;
};

/** As many as the broker takes in one atomic batch, and well below what it holds in memory. */
const runMax = 200;

/** The entry of an archived event; Failure "entry-undecodable" when its headers would not be written as they were. */
function entryOfLost({ subject, eventId, headersJson, body }: LostEvent): NewEntry {
  const headers = JSON.parse(headersJson) as Record<string, string>;
  const header = (name: string) => headers[name] ?? "";
  const { sequence: _, ...entry } = entryOf({ subject, sequence: 0, body, header });
  if (entry.id === eventId && JSON.stringify(envelopeHeaders(entry)) === headersJson) return entry;
  throw failureOf(
    "entry-undecodable",
    `${eventId} of ${subject} has other headers than CHOM writes`,
  );
}

/** Neighbours of one history together: what a command decided at once comes back at once. */
async function* runsOf(lost: AsyncIterable<LostEvent>): AsyncIterable<LostEvent[]> {
  let run: LostEvent[] = [];
  for await (const event of lost) {
    const previous = run.at(-1);
    if (previous && (previous.subject !== event.subject || run.length >= runMax)) {
      yield run;
      run = [];
    }
    run.push(event);
  }
  if (run.length > 0) yield run;
}

/**
 * Appends them; answers how many were written. One whose history has gone another way meanwhile is left out and told,
 * with everything behind it. May be cut short anywhere and repeated.
 */
export async function writeBack(
  log: Pick<EventLog, "load" | "append">,
  lost: AsyncIterable<LostEvent>,
  told: (event: LostEvent, done: "written" | "refused") => void,
): Promise<number> {
  const refused = new Set<string>();
  let written = 0;
  for await (const run of runsOf(lost)) {
    const subject = run[0]?.subject ?? "";
    const there = await log.load("EVENTS", subject);
    const ids = new Set(there.map(({ id }) => id));
    const facts = there.filter(({ id }) => id !== "").length;
    const wanted = run.filter(({ eventId }) => !ids.has(eventId));
    const [first] = wanted;
    if (!first) continue;
    // Its place is right behind what the log has: anything else would tell another story.
    if (refused.has(subject) || first.version !== facts + 1) {
      refused.add(subject);
      for (const event of wanted) told(event, "refused");
      continue;
    }
    const expected = there.at(-1)?.sequence ?? 0;
    await log.append("EVENTS", subject, expected, wanted.map(entryOfLost));
    written += wanted.length;
    for (const event of wanted) told(event, "written");
  }
  return written;
}

const pauseMs = 600_000;

/**
 * Runs `work` while nobody reacts to events: a reactor that sees half of the past would act on it. Should this process
 * die, the broker ends the pause after ten minutes.
 */
export async function whileReactorsPause<T>(
  nats: Nats,
  consumers: readonly ConsumerSettings[],
  work: () => Promise<T>,
): Promise<T> {
  const names = consumers.filter(({ stream }) => stream === "EVENTS").map(({ name }) => name);
  const pause = async (until?: Date) => {
    for (const name of names) {
      const verb = `CONSUMER.PAUSE.EVENTS.${name}`;
      const body = until ? { pause_until: until.toISOString() } : {};
      const answer = await api(nats, verb, body);
      // A consumer that is not there cannot react.
      if ("fault" in answer && answer.fault.code !== 10_014) valueOf(answer, `pausing ${name}`);
    }
  };
  if (names.length === 0) throw operator("invalid-config", "the topology has no reactors");
  await pause(new Date(Date.now() + pauseMs));
  const renew = setInterval(() => {
    pause(new Date(Date.now() + pauseMs)).catch(() => undefined);
  }, pauseMs / 3);
  try {
    return await work();
  } finally {
    clearInterval(renew);
    await pause();
  }
}
