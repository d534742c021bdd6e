/** Parts of every page: status by icon and word, tables that become cards on a phone, notes and panels. */
import { JobState } from "@chom/proto/chom/jobs/v1/jobs";
import type { Failure } from "@chom/shared/failure/failure";
import { shortId } from "./format.ts";
import { type Html, html, type Value } from "./html.ts";

export type Tone = "good" | "bad" | "warn" | "busy" | "idle";

/** Each tone has its own shape, so that colour says nothing alone. */
const shapes: Readonly<Record<Tone, Html>> = {
  good: html`<path d="M3 8.5 6.5 12 13 4.5" />`,
  bad: html`<path d="M4 4l8 8M12 4l-8 8" />`,
  warn: html`<path d="M8 2.5 14.5 13.5H1.5ZM8 6.5v3.2M8 11.6v.4" />`,
  busy: html`<path d="M13.5 8A5.5 5.5 0 1 1 8 2.5M8 5v3l2 1.5" />`,
  idle: html`<circle cx="8" cy="8" r="5" />`,
};

/** A word with the shape and the colour of its tone. */
export const status = (tone: Tone, text: string): Html =>
  html`<span class="status ${tone}"><svg viewBox="0 0 16 16" aria-hidden="true">${shapes[tone]}</svg>${text}</span>`;

const states: Readonly<Record<JobState, readonly [Tone, string]>> = {
  [JobState.UNSPECIFIED]: ["idle", "unknown"],
  [JobState.QUEUED]: ["idle", "queued"],
  [JobState.SCHEDULED]: ["idle", "scheduled"],
  [JobState.WAITING]: ["idle", "waiting"],
  [JobState.RUNNING]: ["busy", "running"],
  [JobState.PARKED]: ["warn", "parked"],
  [JobState.COMPLETED]: ["good", "completed"],
  [JobState.SKIPPED]: ["good", "skipped"],
  [JobState.FAILED]: ["bad", "failed"],
  [JobState.CANCELLED]: ["idle", "cancelled"],
};

export const jobStatus = (state: JobState): Html =>
  status(...(states[state] ?? states.JOB_STATE_UNSPECIFIED));

export type Column<Row> = {
  readonly heading: string;
  readonly cell: (row: Row) => Value;
  /** Right-aligned, with digits of one width. */
  readonly numeric?: true;
};

/** A table; below 700 px each row is a card whose cells say what they are. Roles are said, since cards lose them. */
export function table<Row>(
  rows: readonly Row[],
  columns: readonly Column<Row>[],
  options: { caption: string; empty: string },
): Html {
  if (rows.length === 0) return html`<p class="empty">${options.empty}</p>`;
  const kind = (column: Column<Row>) => (column.numeric ? "number" : "");
  return html`<table role="table" class="cards"><caption class="unseen">${options.caption}</caption>
    <thead role="rowgroup"><tr role="row">${columns.map(
      (column) =>
        html`<th role="columnheader" scope="col" class="${kind(column)}">${column.heading}</th>`,
    )}</tr></thead>
    <tbody role="rowgroup">${rows.map(
      (row) =>
        html`<tr role="row">${columns.map(
          (column) =>
            html`<td role="cell" class="${kind(column)}" data-label="${column.heading}">${column.cell(row)}</td>`,
        )}</tr>`,
    )}</tbody></table>`;
}

/** A named part of a page. */
export const panel = (title: string, body: Value, aside?: Value): Html => {
  const id = title.toLowerCase().replace(/[^a-z]+/g, "-");
  return html`<section class="panel" aria-labelledby="${id}"><header><h2 id="${id}">${title}</h2>${aside}</header>${body}</section>`;
};

/** Facts in pairs; those without a value are left out. */
export const facts = (pairs: readonly (readonly [string, Value])[]): Html =>
  html`<dl class="facts">${pairs
    .filter(([, value]) => value !== "" && value !== undefined && value !== false)
    .map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;

export const jobLink = (jobId: string, text = shortId(jobId)): Html =>
  html`<a class="id" href="/jobs/${encodeURIComponent(jobId)}" title="${jobId}">${text}</a>`;

export const siteLink = (siteId: string, text = shortId(siteId)): Html =>
  siteId === ""
    ? html`<span class="none">–</span>`
    : html`<a class="id" href="/sites/${encodeURIComponent(siteId)}" title="${siteId}">${text}</a>`;

/** What stands in the place of something that could not be asked for. */
export const trouble = ({ code, message }: Pick<Failure, "code" | "message">): Html =>
  html`<p class="trouble" role="alert">${status("warn", "Not available")} <span>${message}</span> <code>${code}</code></p>`;

/** A bar from 0 to 100, with its number. */
export const progress = (percent: number, label: string): Html =>
  html`<span class="progress"><progress max="100" value="${percent}" aria-label="${label}"></progress><span>${percent} %</span></span>`;

/** A link to the same page with other parameters; empty ones are left out. */
export function linkTo(path: string, query: Readonly<Record<string, string>>): string {
  const given = Object.entries(query).filter(([, value]) => value !== "");
  return given.length === 0 ? path : `${path}?${new URLSearchParams(given).toString()}`;
}
