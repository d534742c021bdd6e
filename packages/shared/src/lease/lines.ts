/** Who waits for what, as one process has heard: the oldest and the number of those ahead are known without asking. */

export type Lines = {
  put(key: string, id: string): void;
  drop(key: string, id: string): void;
  oldest(key: string): string | undefined;
  /** How many that wait for a key are older than this one. */
  ahead(key: string, id: string): number;
};

/** The first place in a sorted list that is not before `id`. */
function placeOf(line: readonly string[], id: string): number {
  let [low, high] = [0, line.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((line[middle] ?? "") < id) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** No lines at first. Ids sort by who came first. */
export function lines(): Lines {
  const byKey = new Map<string, string[]>();
  return {
    put(key, id) {
      const line = byKey.get(key) ?? [];
      byKey.set(key, line);
      const at = placeOf(line, id);
      if (line[at] !== id) line.splice(at, 0, id);
    },
    drop(key, id) {
      const line = byKey.get(key) ?? [];
      const at = placeOf(line, id);
      if (line[at] === id) line.splice(at, 1);
      if (line.length === 0) byKey.delete(key);
    },
    oldest: (key) => byKey.get(key)?.[0],
    ahead: (key, id) => placeOf(byKey.get(key) ?? [], id),
  };
}

const firstMs = 15_000;
/** So many in front look for themselves every 15 s; of those behind them fewer and fewer. */
const eagerCount = 20;
/** A ticket lives for 10 min and is renewed by looking. */
const longestMs = 300_000;

/**
 * How soon one in a line looks for itself, should nobody wake it: 15 s in front, 5 min at most. So thousands who wait
 * look some twenty times a second together, not hundreds.
 */
export const lookAgainMsOf = (ahead: number): number =>
  Math.min(firstMs * (1 + Math.floor(ahead / eagerCount)), longestMs);

/** No one in a line for a limit stays away for longer than this once there is room, since those ahead may give up. */
const longestTurnMs = 3_600_000;

/** When one in a line for a limit comes back: when as many as are ahead of it have had their turns. */
export const turnAfterMs = (ahead: number, everyMs: number): number =>
  Math.min(ahead * everyMs, longestTurnMs);
