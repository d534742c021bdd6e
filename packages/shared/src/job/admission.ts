/**
 * Fairness: of each tenant no more items are in a queue than the queue has slots; its other jobs wait in the journal
 * and are put in as others end. So nobody waits behind another tenant's ten thousand, also when those were delayed and
 * come due at one moment, or come back for another attempt.
 */
import type { Clock } from "./clock.ts";
import type { Queue } from "./job.ts";
import type { WorkItem } from "./work-queue.ts";

export type Place = Pick<WorkItem, "family" | "queue" | "tenant">;

/** What a queue holds now. */
export type Room = {
  /** How many items of a queue may be in hand at once, over all processes. */
  slots(family: string, queue: Queue): Promise<number>;
  /** Ids of a tenant's jobs whose items are in a queue, in hand or not. */
  ready(place: Place): Promise<ReadonlySet<string>>;
};

export type Admission = {
  readonly room: Room;
  /** Publishes when the tenant has room in the queue; false when the job has to wait in the journal. */
  offer(item: WorkItem, publish: () => Promise<unknown>): Promise<boolean>;
};

type Known = {
  /** So many may be put in before the broker is asked again. */
  allowed: number;
  inFlight: number;
  fullUntil: number;
  asking: Promise<void> | undefined;
};

const fullMs = 500;
const knownMax = 10_000;

/** Admission at dispatch. Asks the broker only when its own count says that there may be no room. */
export function admissionTo(room: Room, clock: Clock): Admission {
  const all = new Map<string, Known>();
  function knownOf({ queue, tenant }: WorkItem): Known {
    const key = `${queue}.${tenant}`;
    const found = all.get(key);
    if (found) return found;
    // Forgetting only costs a question.
    if (all.size >= knownMax) all.clear();
    const made = { allowed: 0, inFlight: 0, fullUntil: 0, asking: undefined };
    all.set(key, made);
    return made;
  }
  async function ask(known: Known, item: WorkItem): Promise<void> {
    // May be counted twice, here and by the broker: too few is only a question more.
    const { inFlight } = known;
    const [slots, ready] = await Promise.all([
      room.slots(item.family, item.queue),
      room.ready(item),
    ]);
    // Half, because other processes put in, too.
    known.allowed = Math.ceil(Math.max(0, slots - ready.size - inFlight) / 2);
    if (known.allowed === 0) known.fullUntil = clock.now().getTime() + fullMs;
  }
  return {
    room,
    async offer(item, publish) {
      const known = knownOf(item);
      while (known.allowed <= 0) {
        if (known.fullUntil > clock.now().getTime()) return false;
        known.asking ??= ask(known, item).finally(() => {
          known.asking = undefined;
        });
        await known.asking;
      }
      known.allowed -= 1;
      known.inFlight += 1;
      try {
        await publish();
      } finally {
        known.inFlight -= 1;
      }
      return true;
    },
  };
}

export type Share = { readonly tenant: string; readonly ready: number; readonly waiting: number };

/** How many of each tenant's waiting jobs may be put in now: the slots are shared evenly, everyone gets at least one. */
export function sharesOf(slots: number, tenants: readonly Share[]): ReadonlyMap<string, number> {
  const share = Math.max(1, Math.floor(slots / Math.max(1, tenants.length)));
  return new Map(
    tenants.map(({ tenant, ready, waiting }) => [
      tenant,
      Math.max(0, Math.min(waiting, share - ready)),
    ]),
  );
}

/** One of each list in turn, until all are empty. */
export function inTurns<T>(lists: readonly (readonly T[])[]): T[] {
  const longest = Math.max(0, ...lists.map((list) => list.length));
  return Array.from({ length: longest }, (_, turn) =>
    lists.flatMap((list) => list.slice(turn, turn + 1)),
  ).flat();
}
