/** Relative times go on although nothing is loaded. */
const everyMs = 10_000;
const units = [
  [86_400_000, "d"],
  [3_600_000, "h"],
  [60_000, "min"],
  [1_000, "s"],
] as const;

function span(ms: number): string {
  const [size, unit] = units.find(([each]) => ms >= each) ?? [1, "ms"];
  const count = ms / size;
  return `${count < 10 && size > 1 ? Math.round(count * 10) / 10 : Math.round(count)} ${unit}`;
}

function refresh(): void {
  for (const time of document.querySelectorAll<HTMLTimeElement>("time[title]")) {
    const ms = new Date(time.dateTime).getTime() - Date.now();
    const near = Math.abs(ms) < 1_000 ? "now" : undefined;
    const text = near ?? (ms < 0 ? `${span(-ms)} ago` : `in ${span(ms)}`);
    if (time.textContent !== text) time.textContent = text;
  }
}

/** Begins to do so. */
export function keepTimes(): void {
  setInterval(refresh, everyMs);
}
