/** How a patient reactor waits between its tries at an event. The broker counts the tries, so a dead process forgets none. */

const firstMs = 1_000;
const longestMs = 30_000;

/** The wait behind a try, counted from 1: doubled each time, at most 30 s. */
export const waitAfterMs = (tries: number): number =>
  Math.min(firstMs * 2 ** (tries - 1), longestMs);

/** How many tries fit into a patience: the waits between them make up at least that long. At least 1. */
export function triesWithin(maxMs: number): number {
  let tries = 1;
  for (let waitedMs = 0; waitedMs < maxMs; tries += 1) waitedMs += waitAfterMs(tries);
  return tries;
}
