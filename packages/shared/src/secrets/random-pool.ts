/** Random bytes for ids and nonces: drawn from the system in larger portions, because each draw costs more than its bytes. */
import { randomBytes } from "node:crypto";

/** What is asked for beyond a part of the pool is drawn for itself. */
const shareMax = 8;

/**
 * Makes a source of random bytes that gives out every byte once. For ids and nonces, which are no secrets: keys are
 * drawn for themselves, so that they lie nowhere else.
 */
export function randomPool(
  draw: (bytes: number) => Buffer = randomBytes,
  poolBytes = 4_096,
): (bytes: number) => Buffer {
  let pool: Buffer = Buffer.alloc(0);
  let used = 0;
  return (bytes) => {
    if (bytes > poolBytes / shareMax) return draw(bytes);
    if (used + bytes > pool.length) {
      // A new one, never refilled: what was given out of the old one stays as it is.
      pool = draw(poolBytes);
      used = 0;
    }
    used += bytes;
    return pool.subarray(used - bytes, used);
  };
}
