/** Schedules: when each runs next, what became of its ticks, and pausing it. */
import { randomUUID } from "node:crypto";
import type { Schedule, ScheduleSpec, Tick } from "@chom/proto/chom/scheduler/v1/schedules";
import { ago, clock, span } from "../view/format.ts";
import { type Html, html, type Value } from "../view/html.ts";
import type { View } from "../view/layout.ts";
import { facts, jobLink, linkTo, panel, status, table, type Tone } from "../view/parts.ts";
import { type Action, caughtUp, formSecretField, may, type Page, part } from "../web/page.ts";
import { nextPage } from "./jobs.ts";

/** When it runs, in words. */
function timing({ cron, zone, everySeconds, at }: ScheduleSpec): Html {
  if (cron !== "") return html`<code>${cron}</code> ${zone === "" ? "UTC" : zone}`;
  if (everySeconds > 0n) return html`every ${span(everySeconds * 1_000n)}`;
  return html`once, ${clock(at)}`;
}

const outcomes: Readonly<Record<string, Tone>> = { fired: "good", skipped: "idle", missed: "warn" };
const outcome = (text: string): Value => text !== "" && status(outcomes[text] ?? "idle", text);

const pathOf = (scheduleId: string): string => `/schedules/${encodeURIComponent(scheduleId)}`;

function actions(schedule: Schedule, page: Page): Value {
  if (!may(page, "schedule.write")) return false;
  const { scheduleId, paused, spec } = schedule;
  const name = spec?.name ?? scheduleId;
  const button = (verb: string, label: string, confirm?: string) =>
    html`<form method="post" action="${pathOf(scheduleId)}">${formSecretField(page)}<button name="do" value="${verb}" class="quiet" aria-label="${label} ${name}"${confirm !== undefined && html` data-confirm="${confirm}"`}>${label}</button></form>`;
  return html`<div class="actions">${paused ? button("resume", "Resume") : button("pause", "Pause")}${button("run", "Run now", `Run ${name} now, beside its plan?`)}</div>`;
}

const state = ({ paused, pausedUntil, nextAt }: Schedule, { now }: Page): Html =>
  paused
    ? html`${status("warn", "paused")}${pausedUntil && html` <span class="note">until ${ago(pausedUntil, now)}</span>`}`
    : status(nextAt ? "good" : "idle", nextAt ? "active" : "over");

/** `/schedules`. */
export async function schedulesPage(page: Page): Promise<View> {
  const { services, query, now } = page;
  const { schedules, nextPageToken } = await services.schedules.listSchedules({
    ...{ pageSize: 100, pageToken: query.get("page") ?? "", minPosition: 0n },
  });
  const shown = table(
    schedules,
    [
      { heading: "State", cell: (each) => state(each, page) },
      {
        heading: "Schedule",
        cell: ({ scheduleId, spec }) =>
          html`<span class="two"><a href="${pathOf(scheduleId)}"><b>${spec?.name}</b></a><span class="note">${spec?.jobName}</span></span>`,
      },
      { heading: "When", cell: ({ spec }) => spec && timing(spec) },
      {
        heading: "Next",
        cell: ({ nextAt, paused }) =>
          paused ? html`<span class="none">paused</span>` : ago(nextAt, now),
      },
      {
        heading: "Last",
        cell: ({ lastOutcome, lastAt }) => html`${outcome(lastOutcome)} ${ago(lastAt, now)}`,
      },
      { heading: "Last job", cell: ({ lastJobId }) => lastJobId !== "" && jobLink(lastJobId) },
      { heading: "Do", cell: (each) => actions(each, page) },
    ],
    { caption: "Schedules", empty: "No schedule." },
  );
  return {
    ...{ title: "Schedules", section: "/schedules", topics: ["schedules"] },
    body: html`${shown}${nextPage("/schedules", {}, nextPageToken)}`,
  };
}

const tickTable = (ticks: readonly Tick[], now: Date): Html =>
  table(
    ticks,
    [
      { heading: "Outcome", cell: (tick) => outcome(tick.outcome) },
      {
        heading: "Planned for",
        cell: ({ firstAt, lastAt, ticksCount }) =>
          ticksCount > 1 ? html`${clock(firstAt)} – ${clock(lastAt)}` : clock(firstAt),
      },
      { heading: "Runs", numeric: true, cell: ({ ticksCount }) => ticksCount },
      { heading: "Recorded", cell: ({ recordedAt }) => ago(recordedAt, now) },
      { heading: "Job", cell: ({ jobId }) => jobId !== "" && jobLink(jobId) },
      { heading: "Why", cell: ({ reason }) => reason },
    ],
    { caption: "What became of planned runs, newest first", empty: "Nothing was planned yet." },
  );

/** `/schedules/:id`. */
export async function schedulePage(page: Page): Promise<View> {
  const { services, params, query, now } = page;
  const scheduleId = params["id"] ?? "";
  const changed = /^\d{1,15}$/.exec(query.get("at") ?? "")?.[0] ?? "0";
  const { schedule, upcoming } = await caughtUp(
    page,
    (minPosition) => services.schedules.getSchedule({ scheduleId, minPosition }),
    BigInt(changed),
  );
  const ticks = services.schedules.listTicks({
    scheduleId,
    pageSize: 100,
    pageToken: query.get("page") ?? "",
  });
  const past = await part(
    ticks,
    (found) =>
      html`${tickTable(found.ticks, now)}${nextPage(pathOf(scheduleId), {}, found.nextPageToken)}`,
  );
  const spec = schedule?.spec;
  return {
    ...{ title: spec?.name ?? "Schedule", section: "/schedules", topics: ["schedules"] },
    body: html`<div class="headline"><p>${schedule && state(schedule, page)}</p>${schedule && actions(schedule, page)}</div>
    <div class="pair wide">${panel("Planned runs and what became of them", past)}<div>${panel(
      "Next runs",
      upcoming.length > 0
        ? html`<ol>${upcoming.map((at) => html`<li>${clock(at)} <span class="note">${ago(at, now)}</span></li>`)}</ol>`
        : html`<p class="empty">Nothing is planned.</p>`,
    )}${panel(
      "About this schedule",
      facts([
        ["Job", html`<code>${spec?.jobName}</code>`],
        ["When", spec && timing(spec)],
        ["Paused", schedule?.paused === true && (schedule.pauseReason || "yes")],
        ["Version", schedule?.version],
        ["Made by", schedule?.actor],
        ["Its jobs", html`<a href="${linkTo("/jobs", { schedule: scheduleId })}">all of them</a>`],
      ]),
    )}</div></div>`,
  };
}

/** `POST /schedules/:id`. */
export async function actOnSchedule({ services, form, params }: Action): Promise<string> {
  const scheduleId = params["id"] ?? "";
  const verb = form.get("do") ?? "";
  const reason = "asked on the dashboard";
  if (verb === "run") {
    const requestId = `dashboard-${randomUUID()}`;
    await services.schedules.runSchedule({ scheduleId, requestId });
    return linkTo(pathOf(scheduleId), { did: "schedule-run" });
  }
  const { position } =
    verb === "pause"
      ? await services.schedules.pauseSchedule({ scheduleId, reason, until: undefined })
      : await services.schedules.resumeSchedule({ scheduleId, reason });
  const did = verb === "pause" ? "schedule-pause" : "schedule-resume";
  // The page after it shows the change, however far the read model was behind.
  return linkTo(pathOf(scheduleId), { did, at: String(position) });
}
