/** The bucket of leases in memory, with times to live on a fake clock, as the broker keeps it. */
import type { StoredMessage } from "../event-log/nats.ts";
import type { Clock } from "../job/clock.ts";
import type { Write } from "../lease/bucket.ts";

type Kept = {
  readonly body: string;
  readonly sequence: number;
  /** What a marker says; empty for a value. */
  readonly gone: "" | "KV-Operation" | "Nats-Marker-Reason";
};

export type MemoryBucket = {
  current(key: string): StoredMessage | undefined;
  write(request: Write): number | "moved";
  /** Those whose key begins so, in the order of their writing. */
  beginning(prefix: string): readonly StoredMessage[];
  /** Called with the key that was written, and with the header that says it is gone. */
  onWrite(listener: (key: string, gone: string) => void): void;
};

/** An empty bucket. A value that expires leaves a marker for 5 s. */
export function memoryBucket(clock: Clock): MemoryBucket {
  const kept = new Map<string, Kept>();
  const listeners: ((key: string, gone: string) => void)[] = [];
  let sequence = 0;

  function put(key: string, body: string, gone: Kept["gone"], ttlSeconds?: number): number {
    sequence += 1;
    const mine: Kept = { body, sequence, gone };
    kept.set(key, mine);
    for (const listener of listeners) listener(key, gone);
    if (ttlSeconds !== undefined) {
      clock.after(ttlSeconds * 1_000, () => {
        if (kept.get(key) !== mine) return;
        if (gone === "") put(key, "", "Nats-Marker-Reason", 5);
        else kept.delete(key);
      });
    }
    return mine.sequence;
  }
  const messageOf = (key: string, { body, sequence: at, gone }: Kept): StoredMessage => ({
    subject: key,
    sequence: at,
    body,
    header: (name) => (name === gone ? "MaxAge" : ""),
  });
  return {
    current(key) {
      const found = kept.get(key);
      return found && messageOf(key, found);
    },
    write({ key, body, ttlSeconds, expected, remove }) {
      if (expected !== undefined && (kept.get(key)?.sequence ?? 0) !== expected) return "moved";
      return put(key, body, remove ? "KV-Operation" : "", ttlSeconds);
    },
    beginning: (prefix) =>
      [...kept].filter(([key]) => key.startsWith(prefix)).map((each) => messageOf(...each)),
    onWrite: (listener) => void listeners.push(listener),
  };
}
