/** The event log on JetStream. */
import { setTimeout as sleep } from "node:timers/promises";
import { classify, transient } from "../failure/failure.ts";
import { timed, timing } from "../telemetry/metrics.ts";
import { liveSubject, subjectMatches } from "../topology/subjects.ts";
import { epochKey } from "../topology/topology.ts";
import { entryOf } from "./envelope.ts";
import type { Entry, EventLog, NewEntry, StreamName } from "./event-log.ts";
import { groupCommit } from "./group-commit.ts";
import { append } from "./jetstream-append.ts";
import { api, getBatch, getFromLeader, type Nats, valueOf } from "./nats.ts";

const prefixOf = { EVENTS: "evt.>", JOURNAL: "jrn.>" } as const;
/** Bounds what one answer may hold in memory. */
const batchBytesMax = 4 * 1024 * 1024;
const loadBatch = 1_000;
const readTries = 4;

/** The port on a connection; what it promises is in `event-log.ts`. Close the connection to end it. */
export function jetstreamLog(nats: Nats): EventLog {
  const groups = { EVENTS: groupCommit(nats), JOURNAL: groupCommit(nats) };
  const epochs = remembered((stream: StreamName) => persist(() => epoch(nats, stream)));
  return {
    load: (stream, subject, afterSequence = 0) =>
      persist(() => load(nats, stream, subject, afterSequence)),
    last: (stream, subject) =>
      persist(async () => {
        const found = await getFromLeader(nats, stream, { last_by_subj: subject });
        return found && entryOf(found);
      }),
    at: (stream, sequence) =>
      persist(async () => {
        const found = await getFromLeader(nats, stream, { seq: sequence });
        return found && entryOf(found);
      }),
    tip: (stream) => persist(async () => (await infoOf(nats, stream)).state.last_seq),
    append: async (stream, subject, expected, entries) => {
      if (!hasEntries(entries)) return expected;
      const group = groups[stream];
      const now = () => performance.now();
      return timing(
        () => append({ nats, group, stream, subject, expected, entries }, now),
        (outcome, tookMs) => timed("chom_log_append_seconds", { stream, outcome }, tookMs),
      );
    },
    read: (stream, filter, afterSequence, batch) =>
      persist(() => read(nats, { stream, filter, batch }, afterSequence)),
    epoch: (stream) => epochs(stream),
    hint: (_stream, filter, wake) => {
      const subscription = nats.subscribe(liveSubject(filter), { callback: () => wake() });
      return () => subscription.unsubscribe();
    },
  };
}

const hasEntries = (entries: readonly NewEntry[]): entries is readonly [NewEntry, ...NewEntry[]] =>
  entries.length > 0;

/** Reads are repeated while a leader changes or the connection comes back. */
async function persist<T>(read: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await read();
    } catch (error) {
      if (tries >= readTries || classify(error).code !== "log-unavailable") throw error;
      await sleep(100 * 2 ** tries);
    }
  }
}

/** A broker without a cluster is the leader of all its streams: its direct gets are never stale. */
const isAlone = (nats: Nats): boolean => nats.info !== undefined && nats.info.cluster === undefined;

/**
 * Loads from whichever replica answers and asks the leader for the last sequence at the same time: a replica that lags
 * would let a command decide on an old state, and reject what is allowed by now.
 */
async function load(
  nats: Nats,
  stream: StreamName,
  subject: string,
  after: number,
): Promise<Entry[]> {
  if (isAlone(nats)) return collect(nats, stream, subject, after);
  const fromLeader = getFromLeader(nats, stream, { last_by_subj: subject });
  const [last, first] = await Promise.all([fromLeader, collect(nats, stream, subject, after)]);
  let entries = first;
  const behind = () => last !== undefined && (entries.at(-1)?.sequence ?? after) < last.sequence;
  for (let tries = 1; behind(); tries += 1) {
    if (tries > 100) throw transient("log-unavailable", `${stream} has a replica far behind`);
    await sleep(Math.min(5 * tries, 100));
    entries = await collect(nats, stream, subject, after);
  }
  return entries;
}

async function collect(
  nats: Nats,
  stream: StreamName,
  subject: string,
  after: number,
): Promise<Entry[]> {
  const entries: Entry[] = [];
  for (let seq = after + 1; ; ) {
    const query = { seq, next_by_subj: subject, batch: loadBatch, max_bytes: batchBytesMax };
    const { messages, pending } = await getBatch(nats, stream, query);
    entries.push(...messages.map(entryOf));
    const last = messages.at(-1);
    if (!last || pending === 0) return entries;
    seq = last.sequence + 1;
  }
}

/**
 * Reads everything and filters here: so it is known how far the stream was scanned by the very replica that answered.
 * Filtering at the broker would leave that open, and a guess from another replica could jump over entries.
 */
async function read(
  nats: Nats,
  { stream, filter, batch }: { stream: StreamName; filter: string; batch: number },
  afterSequence: number,
): Promise<{ entries: Entry[]; lastSequence: number }> {
  for (let scanned = afterSequence; ; ) {
    const { messages } = await getBatch(nats, stream, {
      seq: scanned + 1,
      next_by_subj: prefixOf[stream],
      batch: Math.max(batch, 256),
      max_bytes: batchBytesMax,
    });
    const last = messages.at(-1);
    if (!last) return { entries: [], lastSequence: scanned };
    const matching = messages.filter(({ subject }) => subjectMatches(filter, subject));
    if (matching.length > batch) {
      const entries = matching.slice(0, batch).map(entryOf);
      return { entries, lastSequence: entries.at(-1)?.sequence ?? scanned };
    }
    scanned = last.sequence;
    if (matching.length > 0) return { entries: matching.map(entryOf), lastSequence: scanned };
  }
}

/** How late a recreated stream is noticed. Until then its fences are lower than those before, which fails safely. */
const epochMs = 5_000;

function remembered(ask: (stream: StreamName) => Promise<number>) {
  const known = new Map<StreamName, { readonly at: number; readonly epoch: Promise<number> }>();
  return (stream: StreamName): Promise<number> => {
    const now = performance.now();
    const last = known.get(stream);
    if (last && now - last.at < epochMs) return last.epoch;
    const asked = ask(stream);
    known.set(stream, { at: now, epoch: asked });
    asked.catch(() => known.delete(stream));
    return asked;
  };
}

type Info = {
  readonly config: { readonly metadata?: Record<string, string> };
  readonly state: { readonly last_seq: number };
};

const infoOf = async (nats: Nats, stream: StreamName): Promise<Info> =>
  valueOf(await api<Info>(nats, `STREAM.INFO.${stream}`), `reading ${stream}`);

const epoch = async (nats: Nats, stream: StreamName): Promise<number> =>
  Number((await infoOf(nats, stream)).config.metadata?.[epochKey] ?? 0);
