/** The work queue on the stream JOBS. */
import { acknowledging } from "../event-log/acknowledging.ts";
import { escaped } from "../event-log/envelope.ts";
import type { Entry } from "../event-log/event-log.ts";
import { getFromLeader, type Nats, publish, valueOf } from "../event-log/nats.ts";
import { type Pulled, pull } from "../event-log/pull.ts";
import { transient } from "../failure/failure.ts";
import { workConsumer } from "../topology/consumers.ts";
import { type Family, isFamily } from "../topology/names.ts";
import {
  parseWorkSubject,
  quarantineSubject,
  scheduleSubject,
  wakeFilter,
  workSubject,
} from "../topology/subjects.ts";
import { type Clock, sleep } from "./clock.ts";
import type { Queue } from "./job.ts";
import { knownEmpty } from "./known-empty.ts";
import {
  type Delivery,
  pollOrder,
  strictOrder,
  type TakeFrom,
  type WorkItem,
  type WorkQueue,
} from "./work-queue.ts";

const stream = "JOBS";
const wrongSequence = new Set([10071, 10164]);
// Items that come back by ack_wait send no wake-up; this is how late they may be noticed.
const pollMs = 1_000;
// A wake-up may come a moment before its item can be had: looked for again after this time, then after twice as long.
const soonestMs = 20;
// Shorter than the poll, so that each of these asks all queues.
const emptyMs = pollMs / 2;

const subjectOf = ({ family, queue, tenant, jobId }: WorkItem): string =>
  workSubject(family, queue, tenant, jobId);

/** RFC 3339 with seconds is all that a schedule takes; rounded up, so that it is never early. */
const scheduleTime = (at: Date): string =>
  new Date(Math.ceil(at.getTime() / 1_000) * 1_000).toISOString().replace(".000Z", "Z");

/** Larger first entries are read from the journal instead: the queue is no place for inputs. */
const carriedBytesMax = 16 * 1024;

const bodyOf = ({ queued }: WorkItem): string =>
  queued && queued.body.length <= carriedBytesMax ? JSON.stringify({ queued }) : "{}";

/** The first entry that an item carries, if it can be read: else the worker reads the journal. */
function carriedBy(message: Pulled): Entry | undefined {
  try {
    const { queued } = JSON.parse(message.body) as { queued?: Entry };
    return queued && { ...queued, time: new Date(queued.time) };
  } catch {
    return undefined;
  }
}

type Acknowledge = ReturnType<typeof acknowledging>;

/** Each queue is a consumer of its own, and only one consumer's acknowledgements keep their order. */
function acknowledgers(nats: Nats) {
  const known = new Map<Queue, Acknowledge>();
  return (queue: Queue): Acknowledge => {
    const acknowledge = known.get(queue) ?? acknowledging(nats);
    known.set(queue, acknowledge);
    return acknowledge;
  };
}

/** Looking into the queues of a family, and hearing of what comes; `woken` is called for each. */
function looking(nats: Nats, family: Family, woken: () => void) {
  let poll = 0;
  const acknowledge = acknowledgers(nats);
  const empty = knownEmpty(() => performance.now(), emptyMs);
  const listening = nats.subscribe(wakeFilter(family), {
    callback: (_, { subject }) => {
      empty.changed(subject.split(".")[3] as Queue);
      woken();
    },
  });
  async function takeFrom(queue: Queue, batch: number): Promise<Delivery[]> {
    const consumer = workConsumer(family, queue);
    const tell = empty.look(queue);
    const pulled = await pull(nats, { stream, consumer, batch, waitMs: 0 });
    tell(pulled.length < batch);
    const hands = { changed: empty.changed, acknowledge: acknowledge(queue) };
    return pulled.flatMap((message) => deliveryOf(nats, message, hands) ?? []);
  }
  return {
    changed: empty.changed,
    restMs: () => Math.min(pollMs, Math.max(soonestMs, empty.quietMs())),
    async takeNow(max: number, { queues, wait }: Required<TakeFrom>): Promise<Delivery[]> {
      poll += 1;
      const taken: Delivery[] = [];
      for (const queue of pollOrder(poll, queues)) {
        if (taken.length >= max) break;
        // Who does not wait wants to know for certain.
        if (wait && empty.isEmpty(queue)) continue;
        taken.push(...(await takeFrom(queue, Math.min(max - taken.length, 256))));
      }
      return taken;
    },
    close: () => listening.unsubscribe(),
  };
}

/** Opens one family's queue. Only that family's user may use it. */
export function jetstreamQueue(nats: Nats, family: Family, clock: Clock): WorkQueue {
  let woken = () => {};
  const { changed, takeNow, restMs, close } = looking(nats, family, () => woken());
  async function put(item: WorkItem, headers: Record<string, string>) {
    const answer = await publish(nats, subjectOf(item), bodyOf(item), { headers });
    // The wake-up may still be on its way.
    changed(item.queue);
    return answer;
  }

  return {
    async publish(item, cause) {
      const answer = await put(item, { "Nats-Msg-Id": `${item.jobId}:${cause}` });
      valueOf(answer, `queueing ${item.jobId}`);
    },
    async publishIfAbsent(item, cause) {
      const answer = await put(item, {
        "Nats-Msg-Id": `${item.jobId}:${cause}:again:${clock.now().getTime()}`,
        "Nats-Expected-Last-Subject-Sequence": "0",
      });
      if ("fault" in answer && wrongSequence.has(answer.fault.code)) return false;
      valueOf(answer, `queueing ${item.jobId} again`);
      return true;
    },
    async schedule(item, at, cause) {
      const { tenant, jobId } = item;
      const headers = {
        "Nats-Msg-Id": `${jobId}:${cause}:${at.getTime()}`,
        "Nats-Schedule": `@at ${scheduleTime(at)}`,
        "Nats-Schedule-Target": subjectOf(item),
      };
      const answer = await publish(nats, scheduleSubject(family, tenant, jobId), "{}", { headers });
      valueOf(answer, `scheduling ${jobId}`);
    },
    async presence(item) {
      const last = (subject: string) => getFromLeader(nats, stream, { last_by_subj: subject });
      if (await last(subjectOf(item))) return "item";
      return (await last(scheduleSubject(family, item.tenant, item.jobId)))
        ? "schedule"
        : "nothing";
    },
    async take(max, signal, { queues = strictOrder, wait = true } = {}) {
      while (!signal.aborted) {
        // Armed before looking, so that an item that comes meanwhile is not slept over.
        const wake = new AbortController();
        // A reason of our own: the default one is an error with its stack, for each wake-up.
        woken = () => wake.abort("woken");
        const taken = await takeNow(max, { queues, wait }).catch(async (error: unknown) => {
          // The caller tries again; a broker that is away must not make that a busy loop.
          await sleep(clock, pollMs, signal);
          if (signal.aborted) return [];
          throw transient("log-unavailable", "taking work failed", { cause: error });
        });
        if (taken.length > 0 || !wait) return taken;
        await sleep(clock, restMs(), AbortSignal.any([signal, wake.signal]));
      }
      return [];
    },
    close,
  };
}

/** An undecodable subject cannot be published by our users; it is put away rather than delivered for ever. */
function deliveryOf(
  nats: Nats,
  message: Pulled,
  { changed, acknowledge }: { changed(queue: Queue): void; acknowledge: Acknowledge },
): Delivery | undefined {
  const parts = parseWorkSubject(message.subject);
  if (!parts || !isFamily(parts.family)) {
    message.term("no subject of a work item");
    return undefined;
  }
  const queue = parts.queue as Queue;
  return {
    ...parts,
    queue,
    queued: carriedBy(message),
    deliveries: message.deliveries,
    working: message.working,
    async ack() {
      await acknowledge(message.reply);
      // A queue that gives out no more at once may look empty; now there is room for one more.
      changed(queue);
    },
    nak(delayMs) {
      message.nak(delayMs);
      changed(queue);
    },
    quarantine: (code, reason) => quarantine(nats, parts.family, message, { code, reason }),
  };
}

/** Stored before the item is acknowledged; repeating it stores it once. */
async function quarantine(
  nats: Nats,
  family: string,
  message: Pulled,
  { code, reason }: { code: string; reason: string },
): Promise<void> {
  const headers = {
    "Nats-Msg-Id": `${family}-work:${message.sequence}`,
    "chom-quarantined-subject": message.subject,
    "chom-quarantined-sequence": String(message.sequence),
    "chom-quarantined-code": code,
    "chom-quarantined-reason": escaped(reason.slice(0, 500)),
  };
  const subject = quarantineSubject(family, "work");
  valueOf(await publish(nats, subject, message.body, { headers }), "quarantining an item");
  await message.ackSure();
}
