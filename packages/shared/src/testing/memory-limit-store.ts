/** The store of limits in memory. */
import type { LimitStore } from "../limit/limit-store.ts";

export function memoryLimitStore(): LimitStore & { readonly writes: () => number } {
  const values = new Map<string, { body: string; revision: number }>();
  let revisions = 0;
  return {
    writes: () => revisions,
    async read(key) {
      const found = values.get(key);
      return { body: found?.body, revision: found?.revision ?? 0 };
    },
    async write(key, body, _ttlMs, expected) {
      if ((values.get(key)?.revision ?? 0) !== expected) return false;
      revisions += 1;
      values.set(key, { body, revision: revisions });
      return true;
    },
  };
}
