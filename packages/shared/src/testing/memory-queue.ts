/** The work queue in memory, with the broker's habits: one item per job, 30 s until an item comes back. */
import { type Clock, sleep } from "../job/clock.ts";
import type { Queue } from "../job/job.ts";
import { type Delivery, pollOrder, type WorkItem, type WorkQueue } from "../job/work-queue.ts";

type Stored = { item: WorkItem; deliveries: number; visibleAt: number };

export type MemoryQueue = WorkQueue & {
  /** What is ready now; unlike `take` it never waits. */
  ready(max: number, queues?: readonly Queue[]): readonly Delivery[];
  /** When the next item or schedule is due. */
  nextAt(): Date | undefined;
  /** Loses everything, as a deleted stream does. */
  lose(): void;
  /** It ever lost anything so. */
  wasLost(): boolean;
  size(): number;
  /** What was put away, with the failure code. */
  quarantined(): readonly { readonly item: WorkItem; readonly code: string }[];
};

const ackWaitMs = 30_000;
const dedupeMs = 120_000;
const keyOf = ({ tenant, jobId }: WorkItem): string => `${tenant}.${jobId}`;

const fresh = (item: WorkItem, visibleAt: number): Stored => ({ item, deliveries: 0, visibleAt });

type PutAway = { readonly item: WorkItem; readonly code: string };

type Shelves = {
  readonly items: Map<string, Stored>;
  readonly away: PutAway[];
  readonly nowMs: () => number;
};

/** Hands an item out: it comes back after 30 s unless its worker says it is at it. */
function handOut({ items, away, nowMs }: Shelves, key: string, stored: Stored): Delivery {
  const busy = () => {
    stored.visibleAt = nowMs() + ackWaitMs;
  };
  stored.deliveries += 1;
  busy();
  const { deliveries } = stored;
  return {
    ...stored.item,
    deliveries,
    working: busy,
    async ack() {
      if (items.get(key) === stored) items.delete(key);
    },
    nak(delayMs) {
      stored.visibleAt = nowMs() + delayMs;
    },
    async quarantine(code) {
      if (items.get(key) === stored) items.delete(key);
      away.push({ item: stored.item, code });
    },
  };
}

function earliest(
  items: ReadonlyMap<string, Stored>,
  schedules: ReadonlyMap<string, { readonly at: number }>,
): Date | undefined {
  const times = [...items.values()].map(({ visibleAt }) => visibleAt);
  for (const { at } of schedules.values()) times.push(at);
  return times.length === 0 ? undefined : new Date(Math.min(...times));
}

/** An empty queue of one family. */
export function memoryQueue(clock: Clock): MemoryQueue {
  const items = new Map<string, Stored>();
  const schedules = new Map<string, { item: WorkItem; at: number }>();
  const seen = new Map<string, number>();
  const away: PutAway[] = [];
  let poll = 0;
  let wasLost = false;
  const nowMs = () => clock.now().getTime();

  const repeated = (id: string) => {
    const before = seen.get(id);
    if (before === undefined || nowMs() - before >= dedupeMs) seen.set(id, nowMs());
    return before !== undefined && nowMs() - before < dedupeMs;
  };
  const put = (item: WorkItem) => void items.set(keyOf(item), fresh(item, nowMs()));

  function ready(max: number, queues?: readonly Queue[]): readonly Delivery[] {
    for (const [key, { item, at }] of schedules) {
      if (at > nowMs()) continue;
      schedules.delete(key);
      put(item);
    }
    poll += 1;
    const visible = [...items].filter(([, stored]) => stored.visibleAt <= nowMs());
    const order = pollOrder(poll, queues);
    const ordered = order.flatMap((queue) =>
      visible.filter(([, { item }]) => item.queue === queue),
    );
    return ordered
      .slice(0, max)
      .map(([key, stored]) => handOut({ items, away, nowMs }, key, stored));
  }
  const port: WorkQueue = {
    async publish(item, cause) {
      if (!repeated(`${item.jobId}:${cause}`)) put(item);
    },
    async publishIfAbsent(item) {
      if (items.has(keyOf(item))) return false;
      put(item);
      return true;
    },
    async schedule(item, at, cause) {
      if (repeated(`${item.jobId}:${cause}:${at.getTime()}`)) return;
      schedules.set(keyOf(item), { item, at: at.getTime() });
    },
    async presence(item) {
      if (items.has(keyOf(item))) return "item";
      return schedules.has(keyOf(item)) ? "schedule" : "nothing";
    },
    async take(max, signal, { queues, wait = true } = {}) {
      while (!signal.aborted) {
        const taken = ready(max, queues);
        if (taken.length > 0 || !wait) return taken;
        await sleep(clock, 100, signal);
      }
      return [];
    },
    close: () => {},
  };
  return {
    ...port,
    ready,
    nextAt: () => earliest(items, schedules),
    wasLost: () => wasLost,
    lose() {
      wasLost = true;
      for (const each of [items, schedules, seen]) each.clear();
    },
    size: () => items.size + schedules.size,
    quarantined: () => away,
  };
}
