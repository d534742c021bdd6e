/** Small values that all processes share, changed by compare-and-set: the bucket `limits`. */
import type { Nats } from "../event-log/nats.ts";
import { current, isGone, write } from "../lease/bucket.ts";

export type LimitStore = {
  /** The value of a key, undefined when there is none, and the revision to expect when writing. */
  read(key: string): Promise<{ readonly body: string | undefined; readonly revision: number }>;
  /** False when the key has another revision by now. The value is forgotten after `ttlMs`. */
  write(key: string, body: string, ttlMs: number, expected: number): Promise<boolean>;
};

/** The store on a connection. Both calls ask the bucket's leader, and fail with `log-unavailable`. */
export const limitStore = (nats: Nats): LimitStore => ({
  async read(key) {
    const found = await current(nats, key, "limits");
    const body = found && !isGone(found) ? found.body : undefined;
    return { body, revision: found?.sequence ?? 0 };
  },
  async write(key, body, ttlMs, expected) {
    const ttlSeconds = Math.max(1, Math.ceil(ttlMs / 1_000));
    const bucket = "limits";
    return (await write(nats, { bucket, key, body, ttlSeconds, expected })) !== "moved";
  },
});

const racesMax = 40;

/** Changes a value by a pure function until nobody was faster. `change` answers undefined to leave it as it is. */
export async function changeOf<T>(
  store: LimitStore,
  key: string,
  change: (body: string | undefined) => { body: string; ttlMs: number; answer: T } | { answer: T },
): Promise<T | "busy"> {
  for (let race = 0; race < racesMax; race += 1) {
    const { body, revision } = await store.read(key);
    const changed = change(body);
    if (!("body" in changed)) return changed.answer;
    if (await store.write(key, changed.body, changed.ttlMs, revision)) return changed.answer;
  }
  return "busy";
}
