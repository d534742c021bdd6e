/** Charts drawn on the server: bars of a stack over time, with the same numbers as a table for who cannot see them. */
import { type Html, html } from "./html.ts";

export type Series = { readonly name: string; readonly tone: string };
export type Bar = { readonly label: string; readonly values: readonly number[] };

const width = 960;
const height = 160;

/** The least 1, 2 or 5 times a power of ten that is not below. */
export function niceCeiling(value: number): number {
  if (value <= 5) return Math.max(1, Math.ceil(value));
  const power = 10 ** Math.floor(Math.log10(value));
  const step = [1, 2, 5, 10].find((each) => each * power >= value) ?? 10;
  return step * power;
}

const sum = (values: readonly number[]): number => values.reduce((all, each) => all + each, 0);

function stack(
  { label, values }: Bar,
  series: readonly Series[],
  place: { x: number; w: number; top: number },
): Html {
  let y = height;
  const parts = values.map((value, at) => {
    const h = (value / place.top) * height;
    y -= h;
    return (
      value > 0 &&
      html`<rect class="${series[at]?.tone}" x="${place.x.toFixed(2)}" y="${y.toFixed(2)}" width="${place.w.toFixed(2)}" height="${h.toFixed(2)}"/>`
    );
  });
  const told = series.map(({ name }, at) => `${values[at] ?? 0} ${name}`).join(", ");
  return html`<g><title>${label}: ${told}</title><rect class="hit" x="${place.x.toFixed(2)}" y="0" width="${place.w.toFixed(2)}" height="${height}"/>${parts}</g>`;
}

const legend = (series: readonly Series[], bars: readonly Bar[]): Html =>
  html`<ul class="legend">${series.map(
    ({ name, tone }, at) =>
      html`<li><svg class="key" viewBox="0 0 10 10" aria-hidden="true"><rect class="${tone}" width="10" height="10" rx="2"/></svg>${name} <b>${sum(bars.map(({ values }) => values[at] ?? 0)).toLocaleString("en-US")}</b></li>`,
  )}</ul>`;

/** Bars from left to right, oldest first. */
export function barChart(options: {
  readonly title: string;
  readonly bars: readonly Bar[];
  readonly series: readonly Series[];
}): Html {
  const { title, bars, series } = options;
  const top = niceCeiling(Math.max(1, ...bars.map(({ values }) => sum(values))));
  const step = width / Math.max(1, bars.length);
  const busy = bars.filter(({ values }) => sum(values) > 0);
  return html`<figure class="chart">
  <figcaption>${legend(series, bars)}</figcaption>
  <div class="plot"><span class="top" aria-hidden="true">${top.toLocaleString("en-US")}</span>
  <svg viewBox="0 0 ${width} ${height}" preserveAspectRatio="none" role="img" aria-label="${title}">
  <line class="grid" x1="0" x2="${width}" y1="0.5" y2="0.5"/><line class="grid" x1="0" x2="${width}" y1="${height / 2}" y2="${height / 2}"/><line class="base" x1="0" x2="${width}" y1="${height - 0.5}" y2="${height - 0.5}"/>
  ${bars.map((bar, at) => stack(bar, series, { x: at * step + step * 0.12, w: step * 0.76, top }))}</svg>
  <p class="axis" aria-hidden="true"><span>${bars[0]?.label}</span><span>${bars[Math.floor(bars.length / 2)]?.label}</span><span>now</span></p></div>
  <details><summary>As a table</summary><table><caption class="unseen">${title}</caption><thead><tr><th scope="col">from</th>${series.map(({ name }) => html`<th scope="col" class="number">${name}</th>`)}</tr></thead>
  <tbody>${busy.map(({ label, values }) => html`<tr><th scope="row">${label}</th>${values.map((value) => html`<td class="number">${value}</td>`)}</tr>`)}</tbody></table></details></figure>`;
}

/** Bars of parts of a whole from left to right, each with its word and number. */
export function distribution(
  parts: readonly { label: string; value: number; tone: string }[],
): Html {
  const whole = Math.max(1, sum(parts.map(({ value }) => value)));
  let x = 0;
  return html`<div class="spread"><svg viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true"><rect class="track" width="100" height="6"/>${parts.map(
    ({ value, tone }) => {
      const w = (value / whole) * 100;
      x += w;
      return (
        value > 0 &&
        html`<rect class="${tone}" x="${(x - w).toFixed(2)}" width="${Math.max(0, w - 0.4).toFixed(2)}" height="6"/>`
      );
    },
  )}</svg><ul>${parts.map(
    ({ label, value, tone }) =>
      html`<li class="${value > 0 ? "" : "zero"}"><svg class="key" viewBox="0 0 10 10" aria-hidden="true"><rect class="${tone}" width="10" height="10" rx="2"/></svg>${label} <b>${value.toLocaleString("en-US")}</b></li>`,
  )}</ul></div>`;
}
