/** The event log in memory, for unit tests: the same promises as the real one, kept by the same conformance suite. */
import { conflict } from "../failure/failure.ts";
import { subjectMatches } from "../topology/subjects.ts";
import type { Entry, EventLog, NewEntry, StreamName } from "./event-log.ts";

type Listener = { readonly filter: string; readonly wake: () => void };
type Stream = { readonly entries: Entry[]; readonly listeners: Set<Listener> };

/** An empty log; `epoch` is what both streams answer. */
export function memoryLog(epoch = 1): EventLog {
  const streams: Record<StreamName, Stream> = {
    EVENTS: { entries: [], listeners: new Set() },
    JOURNAL: { entries: [], listeners: new Set() },
  };
  const of = (stream: StreamName, subject: string) =>
    streams[stream].entries.filter((entry) => entry.subject === subject);
  return {
    load: async (stream, subject, afterSequence = 0) =>
      of(stream, subject).filter(({ sequence }) => sequence > afterSequence),
    last: async (stream, subject) => of(stream, subject).at(-1),
    at: async (stream, sequence) => streams[stream].entries[sequence - 1],
    tip: async (stream) => streams[stream].entries.length,
    append: async (stream, subject, expected, entries) =>
      append(streams[stream], subject, expected, entries),
    read: async (stream, filter, afterSequence, batch) => {
      const { entries } = streams[stream];
      const found = entries
        .filter((each) => each.sequence > afterSequence && subjectMatches(filter, each.subject))
        .slice(0, batch);
      const scanned = found.length === batch ? found.at(-1) : entries.at(-1);
      return { entries: found, lastSequence: Math.max(scanned?.sequence ?? 0, afterSequence) };
    },
    epoch: async () => epoch,
    hint: (stream, filter, wake) => {
      const listener = { filter, wake };
      streams[stream].listeners.add(listener);
      return () => streams[stream].listeners.delete(listener);
    },
  };
}

function append(
  { entries, listeners }: Stream,
  subject: string,
  expected: number,
  added: readonly NewEntry[],
): number {
  const lastId = added.at(-1)?.id;
  if (lastId === undefined) return expected;
  const stored = entries.find((entry) => entry.id === lastId && entry.subject === subject);
  if (stored) return stored.sequence;
  const last = entries.findLast((entry) => entry.subject === subject)?.sequence ?? 0;
  if (last !== expected) throw conflict("wrong-sequence", `someone else appended to ${subject}`);
  for (const entry of added) entries.push({ ...entry, sequence: entries.length + 1 });
  for (const { filter, wake } of listeners)
    if (subjectMatches(filter, subject)) queueMicrotask(wake);
  return entries.length;
}
