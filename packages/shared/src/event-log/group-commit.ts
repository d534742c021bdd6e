/**
 * Group commit: appends of several aggregates that are made at the same moment share one atomic batch, and with it the
 * broker's fsync. A lone append never waits. What a batch is refused for is found out by sending its members alone, so
 * that a conflict of one does not fail the others; a lost answer ends there, too, and the members find their own ids.
 */
import { randomUUID } from "node:crypto";
import { type Answer, ask, headersOf, type Nats, publish } from "./nats.ts";
import { type Pacing, pacing } from "./pacing.ts";

/** One message, with the broker's expectations among its headers. */
export type Message = {
  readonly subject: string;
  readonly body: string;
  readonly headers: Readonly<Record<string, string>>;
};

export type Stored = Answer<{ seq: number }>;

export type GroupCommit = {
  /** Messages of one subject, all or none; answers the sequence of the last one. */
  send(messages: readonly Message[]): Promise<Stored>;
};

/** The broker's own bound is 1,000 messages. */
const messagesMax = 1_000;
/** Keeps a batch well below what the broker stages in memory. */
const bytesMax = 2 * 1024 * 1024;
const membersMin = 8;
/** One is stored while the next one travels; far below the broker's 50 a stream over all clients. */
const batchesMax = 2;
const timeoutMs = 3_000;

type Member = {
  readonly messages: readonly Message[];
  readonly resolve: (stored: Stored | PromiseLike<Stored>) => void;
};

/**
 * Sends messages as one atomic batch; the client library's own batch hides the broker's errors, hence raw. An
 * unfinished batch is dropped after 10 s.
 */
export async function sendBatch(nats: Nats, messages: readonly Message[]): Promise<Stored> {
  const id = randomUUID();
  const last = messages.length - 1;
  let refused: Promise<Stored | undefined> = Promise.resolve(undefined);
  for (const [index, { subject, body, headers }] of messages.entries()) {
    const place = { "Nats-Batch-Id": id, "Nats-Batch-Sequence": String(index + 1) };
    const all = { ...headers, ...place };
    if (index === last) {
      const commit = { ...all, "Nats-Batch-Commit": "1" };
      const stored = publish(nats, subject, body, { headers: commit, timeoutMs });
      const [why, answer] = await Promise.all([refused, stored]);
      // The first message's answer says more about why batches are refused than that of the last one.
      return why && "fault" in answer ? why : answer;
    }
    if (index === 0) refused = firstOf(nats, { subject, body, headers: all });
    else nats.publish(subject, body, { headers: headersOf(all) });
  }
  throw new TypeError("a batch has at least two messages");
}

/** The first message is answered, too: with nothing, or with why batches are refused. */
async function firstOf(
  nats: Nats,
  { subject, body, headers }: Message,
): Promise<Stored | undefined> {
  const reply = await ask(nats, subject, body, { headers, timeoutMs });
  if (reply.data.length === 0) return undefined;
  const { error } = reply.json<{ error?: { err_code: number; description: string } }>();
  return error && { fault: { code: error.err_code, description: error.description } };
}

function sendAlone(nats: Nats, messages: readonly Message[]): Promise<Stored> {
  const [only] = messages;
  if (!only || messages.length > 1) return sendBatch(nats, messages);
  return publish(nats, only.subject, only.body, { headers: only.headers, timeoutMs });
}

const bytesOf = (messages: readonly Message[]): number =>
  messages.reduce((sum, { body }) => sum + body.length, 0);

/** Takes from the front what fits into one batch; a subject may occur in it only once. */
function nextGroup(waiting: Member[]): Member[] {
  const subjects = new Set<string>();
  let [messages, bytes, count] = [0, 0, 0];
  for (const member of waiting) {
    const subject = member.messages[0]?.subject ?? "";
    messages += member.messages.length;
    bytes += bytesOf(member.messages);
    if (messages > messagesMax || bytes > bytesMax || subjects.has(subject)) break;
    subjects.add(subject);
    count += 1;
  }
  // One that fits into no batch goes alone, and its own answer says so.
  return waiting.splice(0, Math.max(count, 1));
}

/** The lane of one stream on one connection. */
export function groupCommit(
  nats: Nats,
  pace: Pacing = pacing(() => performance.now()),
): GroupCommit {
  const waiting: Member[] = [];
  let flying = 0;
  let batches = 0;
  let isPlanned = false;
  const load = () => flying + waiting.length;

  function settle(members: number, messages: number): void {
    pace.settled(messages, load());
    flying -= members;
    plan();
  }
  function alone({ messages, resolve }: Member): void {
    flying += 1;
    const stored = sendAlone(nats, messages).finally(() => settle(1, messages.length));
    resolve(stored);
  }
  async function together(members: readonly Member[]): Promise<void> {
    const messages = members.flatMap((member) => member.messages);
    flying += members.length;
    batches += 1;
    const answer = await sendBatch(nats, messages).catch(() => undefined);
    batches -= 1;
    settle(members.length, messages.length);
    if (!answer || "fault" in answer) {
      for (const member of members) alone(member);
      return;
    }
    let sequence = answer.ok.seq - messages.length;
    for (const member of members) {
      sequence += member.messages.length;
      member.resolve({ ok: { seq: sequence } });
    }
  }
  /** Once everything of this turn of the event loop has arrived. */
  function plan(): void {
    if (isPlanned || waiting.length === 0) return;
    isPlanned = true;
    setImmediate(() => {
      isPlanned = false;
      depart();
    });
  }
  function depart(): void {
    const apart = pace.mode(load()) === "alone";
    while (waiting.length > 0 && (apart || batches < batchesMax)) {
      const group = nextGroup(waiting);
      if (apart || group.length < membersMin) for (const member of group) alone(member);
      else void together(group);
    }
  }
  return {
    send: (messages) =>
      new Promise((resolve) => {
        const member = { messages, resolve };
        const apart = pace.mode(load() + 1) === "alone";
        if (apart || load() === 0) return alone(member);
        waiting.push(member);
        if (batches < batchesMax) plan();
      }),
  };
}
