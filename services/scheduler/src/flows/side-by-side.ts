/** Doing the same with many things, so many at once. */
const atOnce = 32;

/** Acts on every item, 32 at once. Throws what an act throws; the others that were begun go on. */
export async function sideBySide<T>(
  items: readonly T[],
  act: (item: T) => Promise<void>,
): Promise<void> {
  const left = [...items];
  const worker = async () => {
    for (let item = left.shift(); item !== undefined; item = left.shift()) await act(item);
  };
  await Promise.all(Array.from({ length: Math.min(atOnce, left.length) }, worker));
}
