/** Which queues were just found empty, so that they need not be asked again before something came. */
import type { Queue } from "./job.ts";

export type KnownEmpty = {
  /** Something may be there: it came, or came back, or a place for it came free. */
  changed(queue: Queue): void;
  isEmpty(queue: Queue): boolean;
  /** A look begins; tell its answer what it found. What changed meanwhile counts as not seen. */
  look(queue: Queue): (foundAll: boolean) => void;
};

/** Trusts a look for so long, because not everything that comes is announced. `now` is a monotonic clock in ms. */
export function knownEmpty(now: () => number, trustMs: number): KnownEmpty {
  const emptyAt = new Map<Queue, number>();
  const changes = new Map<Queue, number>();
  const changesOf = (queue: Queue) => changes.get(queue) ?? 0;
  return {
    changed(queue) {
      changes.set(queue, changesOf(queue) + 1);
      emptyAt.delete(queue);
    },
    isEmpty: (queue) => now() - (emptyAt.get(queue) ?? Number.NEGATIVE_INFINITY) < trustMs,
    look(queue) {
      const before = changesOf(queue);
      const at = now();
      return (foundAll) => {
        if (foundAll && changesOf(queue) === before) emptyAt.set(queue, at);
        else emptyAt.delete(queue);
      };
    },
  };
}
