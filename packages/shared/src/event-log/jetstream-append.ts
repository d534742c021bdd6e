/**
 * Appending to a stream with optimistic concurrency.
 *
 * Each append is one request on a shared connection, so any number may be under way at once; the broker puts them in
 * order. Should one fsync per append ever be the limit (R1 with `sync_interval: always` gives about 7 000 a second),
 * group commit fits behind the same signature: gather the appends that arrive within a tick and send them as one
 * atomic batch, each subject's first message with its own expected sequence (the broker allows one per subject). When
 * the batch is refused, fall back to sending them one by one, so that one conflict does not refuse the neighbours.
 */
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { classify, conflict, failureOf, transient } from "../failure/failure.ts";
import { envelopeHeaders } from "./envelope.ts";
import type { NewEntry, StreamName } from "./event-log.ts";
import { type Answer, ask, getFromLeader, headersOf, type Nats, publish } from "./nats.ts";

/** Retrying for about 12 s outlives a change of leader (measured: 5 to 8 s). */
const triesMax = 40;
const timeoutMs = 3_000;
const giveUpAfterMs = 12_000;

/** Headers count against the broker's limit of a message, too. */
const headerBytesMax = 8 * 1024;

const wrongSequence = 10071;
/** A write on the subject is under way and not settled; replicated streams only. */
const wrongSequenceInFlight = 10164;
const batchHoldsDuplicate = 10201;
const tooLarge = 10054;

type Append = {
  readonly nats: Nats;
  readonly stream: StreamName;
  readonly subject: string;
  readonly expected: number;
  readonly entries: readonly [NewEntry, ...NewEntry[]];
};

/** Promises what `EventLog.append` promises. `now` is a monotonic clock in ms. */
export async function append(request: Append, now: () => number): Promise<number> {
  const bytesMax = (request.nats.info?.max_payload ?? Number.POSITIVE_INFINITY) - headerBytesMax;
  for (const { subject, body } of request.entries) {
    if (Buffer.byteLength(body) <= bytesMax) continue;
    throw failureOf("entry-too-large", `a body for ${subject} exceeds ${bytesMax} bytes`);
  }
  const giveUpAt = now() + giveUpAfterMs;
  for (let tries = 1; ; tries += 1) {
    const settled = await attempt(request).catch((error: unknown) => {
      const failure = classify(error);
      if (failure.code !== "log-unavailable" || now() >= giveUpAt) throw error;
      return undefined;
    });
    if (settled !== undefined) return settled;
    if (tries >= triesMax || now() >= giveUpAt) {
      throw transient("log-unavailable", `${request.stream} does not settle ${request.subject}`);
    }
    await sleep(Math.min(10 * 2 ** tries, 500));
  }
}

/** One try: the sequence, or undefined when it is worth another. */
async function attempt(request: Append): Promise<number | undefined> {
  const answer = await (request.entries.length === 1 ? appendOne(request) : appendBatch(request));
  // A duplicate is an append that was stored before: the broker answers its sequence.
  if ("ok" in answer) return answer.ok.seq;
  const { code, description } = answer.fault;
  switch (code) {
    case wrongSequence:
    case wrongSequenceInFlight: {
      const mine = await ownSequence(request, request.expected);
      if (mine !== undefined) return mine;
      // The write under way may be our own of a moment ago, whose answer was lost.
      if (code === wrongSequenceInFlight) return undefined;
      throw conflict("wrong-sequence", `someone else appended to ${request.subject}`);
    }
    case batchHoldsDuplicate: {
      const mine = await ownSequence(request, 0);
      if (mine !== undefined) return mine;
      throw conflict("wrong-sequence", `ids of a batch on ${request.subject} are in use`);
    }
    case tooLarge:
      throw failureOf("entry-too-large", `${request.subject}: ${description}`);
    default:
      return undefined;
  }
}

const expectedHeader = (sequence: number) => ({
  "Nats-Expected-Last-Subject-Sequence": String(sequence),
});

function appendOne({ nats, subject, expected, entries: [entry] }: Append) {
  return publish(nats, subject, entry.body, {
    headers: { ...envelopeHeaders(entry), ...expectedHeader(expected) },
    timeoutMs,
  });
}

/** The client library's own batch hides the broker's errors, hence raw. An unfinished batch is dropped after 10 s. */
async function appendBatch({
  nats,
  subject,
  expected,
  entries,
}: Append): Promise<Answer<{ seq: number }>> {
  const id = randomUUID();
  for (const [index, entry] of entries.entries()) {
    const first = index === 0;
    const last = index === entries.length - 1;
    const headers = {
      ...envelopeHeaders(entry),
      ...(first ? expectedHeader(expected) : {}),
      "Nats-Batch-Id": id,
      "Nats-Batch-Sequence": String(index + 1),
      ...(last ? { "Nats-Batch-Commit": "1" } : {}),
    };
    if (last) return publish(nats, subject, entry.body, { headers, timeoutMs });
    if (first) {
      // The first message is answered too, with nothing or with why batches are refused.
      const reply = await ask(nats, subject, entry.body, { headers, timeoutMs });
      if (reply.data.length > 0) {
        const { error } = reply.json<{ error?: { err_code: number; description: string } }>();
        if (error) return { fault: { code: error.err_code, description: error.description } };
      }
    } else nats.publish(subject, entry.body, { headers: headersOf(headers) });
  }
  throw new TypeError("a batch has at least two entries");
}

/** Where our own last entry is behind a sequence; read from the leader, since a stale answer would be a false conflict. */
async function ownSequence(request: Append, after: number): Promise<number | undefined> {
  const { nats, stream, subject, entries } = request;
  const wanted = entries.at(-1)?.id;
  for (let seq = after + 1; ; ) {
    const found = await getFromLeader(nats, stream, { seq, next_by_subj: subject });
    if (!found) return undefined;
    if (found.header("Nats-Msg-Id") === wanted) return found.sequence;
    seq = found.sequence + 1;
  }
}
