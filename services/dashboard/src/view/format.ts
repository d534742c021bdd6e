/** Times, spans and sizes as people read them; the exact value is always in the title. */
import { type Html, html } from "./html.ts";

const units = [
  [86_400_000, "d"],
  [3_600_000, "h"],
  [60_000, "min"],
  [1_000, "s"],
] as const;

/** `850 ms`, `12 s`, `4 min`, `3 h`, `9 d`. */
export function span(ms: number | bigint): string {
  const value = Math.max(0, Number(ms));
  const [size, unit] = units.find(([each]) => value >= each) ?? [1, "ms"];
  const count = value / size;
  return `${count < 10 && size > 1 ? Math.round(count * 10) / 10 : Math.round(count)} ${unit}`;
}

/** `2026-01-31 12:00:05 UTC`. */
const exact = (at: Date): string => `${at.toISOString().slice(0, 19).replace("T", " ")} UTC`;

const relative = (at: Date, now: Date): string => {
  const ms = at.getTime() - now.getTime();
  if (Math.abs(ms) < 1_000) return "now";
  return ms < 0 ? `${span(-ms)} ago` : `in ${span(ms)}`;
};

/** How long ago or ahead, with the exact time for machines and on hover; a dash when there is none. */
export const ago = (at: Date | undefined, now: Date): Html =>
  at === undefined
    ? html`<span class="none">–</span>`
    : html`<time datetime="${at.toISOString()}" title="${exact(at)}">${relative(at, now)}</time>`;

/** The time itself. */
export const clock = (at: Date | undefined): Html =>
  at === undefined
    ? html`<span class="none">–</span>`
    : html`<time datetime="${at.toISOString()}">${exact(at)}</time>`;

/** `1,234`. */
export const count = (value: number | bigint): string => value.toLocaleString("en-US");

/** `12.3 MB`. */
export function size(bytes: bigint | number): string {
  const value = Number(bytes);
  const steps = ["B", "kB", "MB", "GB", "TB"];
  const at = Math.min(
    steps.length - 1,
    Math.max(0, Math.floor(Math.log10(Math.max(1, value)) / 3)),
  );
  const number = value / 1_000 ** at;
  return `${number < 10 && at > 0 ? number.toFixed(1) : Math.round(number)} ${steps[at] ?? ""}`;
}

/** An id, short enough to be read; the whole of it is in the title. */
export const shortId = (id: string): string => (id.length > 20 ? `${id.slice(0, 17)}…` : id);

/** The last word of an enum, like `completed`. */
export const word = (value: string): string =>
  value
    .replace(/^.*_(?:STATE|STATUS|KIND)_/, "")
    .toLowerCase()
    .replaceAll("_", " ");

/** `a job`, `2 jobs`. */
export const jobsOf = (jobs: number | bigint): string =>
  Number(jobs) === 1 ? "1 job" : `${count(jobs)} jobs`;
