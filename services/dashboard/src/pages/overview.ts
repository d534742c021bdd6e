/** The overview: whether all is well, at a glance; each part stands when another cannot be asked for. */
import type { GetBackupOverviewResponse } from "@chom/proto/chom/backup/v1/backup";
import { ServerStatus } from "@chom/proto/chom/credentials/v1/credentials";
import { type Job, JobState } from "@chom/proto/chom/jobs/v1/jobs";
import type { GetOverviewResponse, GetThroughputResponse } from "@chom/proto/chom/jobs/v1/overview";
import type { GetCertificateOverviewResponse } from "@chom/proto/chom/ssl/v1/ssl";
import { barChart, distribution } from "../view/chart.ts";
import { ago, count, span } from "../view/format.ts";
import { type Html, html, type Value } from "../view/html.ts";
import type { View } from "../view/layout.ts";
import { jobLink, linkTo, panel, siteLink, status, table } from "../view/parts.ts";
import { caughtUp, type Page, part } from "../web/page.ts";
import { alertTable } from "./alerts.ts";

type Tile = { readonly name: string; readonly value: number; readonly note: string };

const tile = ({ name, value, note }: Tile, href: string, tone = ""): Html =>
  html`<li class="tile ${tone}"><a href="${href}"><span class="name">${name}</span><b>${count(value)}</b><span class="note">${note}</span></a></li>`;

const totalOf = ({ counts }: GetOverviewResponse, ...states: readonly JobState[]): number =>
  counts
    .filter(({ state }) => states.includes(state))
    .reduce((sum, { jobs }) => sum + Number(jobs), 0);

function oldest(job: Job | undefined, since: Date | undefined, now: Date, none: string): Value {
  return job === undefined ? none : html`${jobLink(job.jobId, job.name)} ${ago(since, now)}`;
}

function tiles(found: GetOverviewResponse, { now }: Page): Html {
  const of = (...states: readonly JobState[]) => totalOf(found, ...states);
  const { oldestReady, oldestRunning } = found;
  const waitingMs = oldestReady?.dueAt ? now.getTime() - oldestReady.dueAt.getTime() : 0;
  const jobs = (state: JobState) => linkTo("/jobs", { state });
  const [failed, parked] = [of(JobState.FAILED), of(JobState.PARKED)];
  const ready = of(JobState.QUEUED);
  const waits = waitingMs > 0 ? `oldest waits ${span(waitingMs)}` : "nothing waits";
  const runs = oldestRunning?.startedAt;
  const longest = runs ? `longest ${span(now.getTime() - runs.getTime())}` : "nothing runs";
  const later = of(JobState.SCHEDULED, JobState.WAITING);
  const needed = parked > 0 ? "need a person" : "none";
  const toDo = failed > 0 ? "to retry or forget" : "none";
  return html`<ul class="tiles">
  ${tile({ name: "Ready", value: ready, note: waits }, jobs(JobState.QUEUED), waitingMs > 300_000 ? "warn" : "")}
  ${tile({ name: "Running", value: of(JobState.RUNNING), note: longest }, jobs(JobState.RUNNING))}
  ${tile({ name: "Later", value: later, note: "delayed or waiting" }, jobs(JobState.SCHEDULED))}
  ${tile({ name: "Parked", value: parked, note: needed }, jobs(JobState.PARKED), parked > 0 ? "warn" : "")}
  ${tile({ name: "Failed", value: failed, note: toDo }, "/failed", failed > 0 ? "bad" : "")}
  </ul><p class="oldest">Oldest ready job: ${oldest(oldestReady, oldestReady?.queuedAt, now, "none")} · longest running: ${oldest(oldestRunning, oldestRunning?.startedAt, now, "none")}</p>`;
}

const ranges = [
  ["2", "2 h"],
  ["24", "24 h"],
  ["168", "7 d"],
  ["720", "30 d"],
] as const;

const series = [
  { name: "completed", tone: "good" },
  { name: "skipped", tone: "idle" },
  { name: "cancelled", tone: "mute" },
  { name: "failed", tone: "bad" },
] as const;

function chart({ buckets, bucketSeconds }: GetThroughputResponse): Html {
  const bars = buckets.map(({ startsAt, completed, skipped, cancelled, failed }) => ({
    label: (startsAt ?? new Date(0)).toISOString().slice(5, 16).replace("T", " "),
    values: [completed, skipped, cancelled, failed].map(Number),
  }));
  const done = buckets.reduce((sum, { completed }) => sum + Number(completed), 0);
  const took = buckets.reduce((sum, { durationMs }) => sum + Number(durationMs), 0);
  const retried = buckets.reduce((sum, each) => sum + Number(each.retried), 0);
  const queued = buckets.reduce((sum, each) => sum + Number(each.queued), 0);
  return html`${barChart({ title: "Jobs that ended, over time", bars, series })}
  <p class="hint">${count(queued)} queued · ${count(retried)} attempts tried again · ${done > 0 ? `${span(took / done)} a completed job on average` : "no completed job"} · each bar is ${span(bucketSeconds * 1_000)}, times are UTC</p>`;
}

const columns: readonly (readonly [string, readonly JobState[]])[] = [
  ["Ready", [JobState.QUEUED]],
  ["Later", [JobState.SCHEDULED, JobState.WAITING]],
  ["Running", [JobState.RUNNING]],
  ["Parked", [JobState.PARKED]],
  ["Failed", [JobState.FAILED]],
];

function queues({ counts }: GetOverviewResponse): Html {
  const shown = columns.flatMap(([, states]) => states);
  const open = counts.filter(({ state }) => shown.includes(state));
  const places = new Set(open.map(({ family, queue }) => `${family}.${queue}`));
  const cell = (place: string, states: readonly JobState[]) => {
    const [family = "", queue = ""] = place.split(".");
    const jobs = open
      .filter((each) => each.family === family && each.queue === queue)
      .filter(({ state }) => states.includes(state))
      .reduce((sum, each) => sum + each.jobs, 0n);
    const to = linkTo("/jobs", { family, queue, state: states[0] ?? "" });
    return jobs === 0n
      ? html`<span class="none">0</span>`
      : html`<a href="${to}">${count(jobs)}</a>`;
  };
  return table(
    [...places].toSorted(),
    [
      { heading: "Queue", cell: (place) => place },
      ...columns.map(([heading, states]) => ({
        ...{ heading, numeric: true as const },
        cell: (place: string) => cell(place, states),
      })),
    ],
    { caption: "Jobs in each queue by state", empty: "No queue holds a job." },
  );
}

const dayMs = 86_400_000;

function certificates(
  { buckets, without, soonest }: GetCertificateOverviewResponse,
  { now }: Page,
): Html {
  const tones = ["bad", "bad", "warn", "warn", "good", "good"];
  const parts = buckets.map(({ belowDays, certificates: value }, at) => ({
    label:
      belowDays === undefined
        ? "60 days or more"
        : belowDays === 0
          ? "ended"
          : `below ${belowDays} days`,
    value: Number(value),
    tone: tones[at] ?? "good",
  }));
  const daysLeft = (end: Date | undefined) =>
    Math.floor(((end?.getTime() ?? 0) - now.getTime()) / dayMs);
  return html`${distribution([...parts, { label: "without", value: Number(without), tone: "idle" }])}
  ${table(
    soonest.slice(0, 5),
    [
      { heading: "Site", cell: ({ siteId, domain }) => siteLink(siteId, domain) },
      { heading: "Days left", numeric: true, cell: ({ notAfter }) => daysLeft(notAfter) },
      { heading: "Ends", cell: ({ notAfter }) => ago(notAfter, now) },
      { heading: "Renewal", cell: ({ renewAt }) => ago(renewAt, now) },
    ],
    { caption: "Certificates that end soonest", empty: "No certificate yet." },
  )}`;
}

function backups(found: GetBackupOverviewResponse, { now }: Page): Html {
  const tones = ["good", "good", "warn", "bad"];
  const labels = ["below a day", "below 2 days", "below a week", "older"];
  const parts = found.buckets.map(({ sites }, at) => ({
    ...{ label: labels[at] ?? "", value: Number(sites), tone: tones[at] ?? "idle" },
  }));
  const proven = (at: Date | undefined, siteId: string) =>
    at === undefined ? status("warn", "never") : html`${ago(at, now)} (${siteLink(siteId)})`;
  return html`${distribution([...parts, { label: "none", value: Number(found.without), tone: "bad" }])}
  <p class="hint">Last restore that held: ${proven(found.lastRestoredAt, found.lastRestoredSiteId)} · last backup read back and checked: ${proven(found.lastVerifiedAt, found.lastVerifiedSiteId)}</p>
  ${table(
    found.oldest.slice(0, 5),
    [
      { heading: "Site", cell: ({ siteId }) => siteLink(siteId) },
      {
        heading: "Backed up",
        cell: ({ lastCompletedAt }) =>
          lastCompletedAt === undefined ? status("bad", "never") : ago(lastCompletedAt, now),
      },
      { heading: "Checked", cell: ({ lastVerifiedAt }) => ago(lastVerifiedAt, now) },
      { heading: "Restored", cell: ({ lastRestoredAt }) => ago(lastRestoredAt, now) },
      {
        heading: "Last failure",
        cell: ({ lastFailedAt, lastFailureCode }) =>
          lastFailedAt && html`<code>${lastFailureCode}</code> ${ago(lastFailedAt, now)}`,
      },
    ],
    { caption: "Sites whose newest backup is oldest", empty: "No site was backed up yet." },
  )}`;
}

async function serverHealth({ services }: Page): Promise<Html> {
  const { servers, nextPageToken } = await services.servers.listServers({
    pageSize: 500,
    pageToken: "",
    minPosition: 0n,
  });
  const of = (wanted: ServerStatus) => servers.filter((server) => server.status === wanted).length;
  return html`${distribution([
    { label: "active", value: of(ServerStatus.ACTIVE), tone: "good" },
    { label: "not installed yet", value: of(ServerStatus.PENDING), tone: "idle" },
    { label: "quarantined", value: of(ServerStatus.QUARANTINED), tone: "bad" },
  ])}${nextPageToken !== "" && html`<p class="hint">The first 500 servers.</p>`}<p><a href="/servers">All servers and the age of their keys</a></p>`;
}

async function alerts(page: Page): Promise<Html> {
  const { alerts: active } = await page.services.alerts.listAlerts({
    ...{ includeResolved: false, rule: "", pageSize: 5, pageToken: "", minPosition: 0n },
  });
  return alertTable(active, page);
}

/** `/`. */
export async function overview(page: Page): Promise<View> {
  const { services, query } = page;
  const hours = ranges.find(([value]) => value === query.get("hours"))?.[0] ?? "24";
  const switcher = html`<ul class="switch" aria-label="Span of time">${ranges.map(
    ([value, name]) =>
      html`<li><a href="${linkTo("/", { hours: value })}"${value === hours ? html` aria-current="true"` : ""}>${name}</a></li>`,
  )}</ul>`;
  const counted = caughtUp(page, (minPosition) => services.overview.getOverview({ minPosition }));
  const over = caughtUp(page, (minPosition) =>
    services.overview.getThroughput({ hours: Number(hours), family: "", minPosition }),
  );
  const [top, throughput, alerting, depth, backed, certified, served] = await Promise.all([
    part(counted, (found) => tiles(found, page)),
    part(over, chart),
    part(alerts(page), (shown) => shown),
    part(counted, queues),
    part(services.backup.getBackupOverview({ minPosition: 0n }), (found) => backups(found, page)),
    part(services.ssl.getCertificateOverview({ minPosition: 0n }), (found) =>
      certificates(found, page),
    ),
    part(serverHealth(page), (shown) => shown),
  ]);
  return {
    ...{ title: "Overview", section: "/", topics: ["jobs", "alerts", "servers", "sites"] },
    body: html`${top}${panel("Throughput", throughput, switcher)}${panel("Active alerts", alerting)}
    <div class="pair">${panel("Queues", depth)}${panel("Servers", served)}</div>
    <div class="pair">${panel("Backups by age", backed)}${panel("Certificates by days left", certified)}</div>`,
  };
}
