/**
 * Appending to a stream with optimistic concurrency. Any number of appends may be under way at once; the broker puts
 * them in order, and group-commit.ts decides which of them share an atomic batch.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { classify, conflict, failureOf, transient } from "../failure/failure.ts";
import { envelopeHeaders } from "./envelope.ts";
import type { NewEntry, StreamName } from "./event-log.ts";
import type { GroupCommit, Message, Stored } from "./group-commit.ts";
import { getFromLeader, type Nats } from "./nats.ts";

/** Retrying for about 12 s outlives a change of leader (measured: 5 to 8 s). */
const triesMax = 40;
const giveUpAfterMs = 12_000;

/** Headers count against the broker's limit of a message, too. */
const headerBytesMax = 8 * 1024;

/** As many as the broker takes in one atomic batch. */
const entriesMax = 1_000;

const wrongSequence = 10071;
/** A write on the subject is under way and not settled; replicated streams only. */
const wrongSequenceInFlight = 10164;
const batchHoldsDuplicate = 10201;
const tooLarge = 10054;

type Append = {
  readonly nats: Nats;
  readonly group: GroupCommit;
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
  if (request.entries.length > entriesMax) {
    throw failureOf("entry-too-large", `more than ${entriesMax} entries for ${request.subject}`);
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
  const answer: Stored = await request.group.send(messagesOf(request));
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

const messagesOf = ({ subject, expected, entries }: Append): Message[] =>
  entries.map((entry, index) => ({
    subject,
    body: entry.body,
    headers: { ...envelopeHeaders(entry), ...(index === 0 ? expectedHeader(expected) : {}) },
  }));

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
