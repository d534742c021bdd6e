/** Failed jobs: look, try again, or forget; some, or all that a filter finds. */
import {
  FailedJobOutcome,
  FailedJobs,
  type FailedJobsProgress,
  JobState,
} from "@chom/proto/chom/jobs/v1/jobs";
import { invalid } from "@chom/shared/failure/failure";
import { ago } from "../view/format.ts";
import { type Html, html, type Value } from "../view/html.ts";
import type { View } from "../view/layout.ts";
import { jobLink, linkTo, siteLink, table } from "../view/parts.ts";
import { type Action, caughtUp, formSecretField, may, type Page } from "../web/page.ts";
import { filterForm, type JobQuery, jobQuery, jobsRequest } from "./job-filter.ts";
import { failureText, nextPage } from "./jobs.ts";

const size = 100;
const longMs = 280_000;

const hidden = (query: JobQuery): Value =>
  Object.entries(query)
    .filter(([, value]) => value !== "")
    .map(([name, value]) => html`<input type="hidden" name="${name}" value="${value}">`);

function bulk(page: Page, query: JobQuery, isSome: boolean): Html {
  const [retry, forget] = [may(page, "job.retry"), may(page, "job.forget")];
  const filtered = Object.values(query).some((value) => value !== "");
  const all = filtered ? "all that this search finds" : "all";
  if (!isSome || !(retry || forget)) return html``;
  return html`<div class="bulk" role="group" aria-label="With selected jobs"><span data-selected role="status">0 selected</span>
  ${retry && html`<button name="do" value="retry" data-needs-selection>Retry selected</button>`}
  ${forget && html`<button name="do" value="forget" class="quiet" data-needs-selection data-confirm="Take {n} failed jobs out of this list? They stay readable by their id.">Forget selected</button>`}
  <span class="apart"></span>
  ${retry && html`<button name="do" value="retry-all" class="quiet" data-confirm="Run ${all} of these failed jobs again?">Retry ${all}</button>`}
  ${forget && html`<button name="do" value="forget-all" class="quiet danger" data-confirm="Take ${all} of these failed jobs out of this list?">Forget ${all}</button>`}</div>`;
}

/** `/failed`. */
export async function failedPage(page: Page): Promise<View> {
  const { services, now } = page;
  const query = { ...jobQuery(page.query), state: "" };
  const request = jobsRequest(query, { token: page.query.get("page") ?? "", now, size });
  const { jobs, nextPageToken } = await caughtUp(page, (minPosition) =>
    services.jobs.listJobs({ ...request, states: [JobState.FAILED], minPosition }),
  );
  const box = ({ jobId, name }: { jobId: string; name: string }) =>
    html`<input type="checkbox" name="job" value="${jobId}" id="pick-${jobId}" aria-label="Select ${name} ${jobId}">`;
  const shown = table(
    jobs,
    [
      { heading: "Select", cell: box },
      {
        heading: "Job",
        cell: ({ jobId, name }) => html`<span class="two"><b>${name}</b>${jobLink(jobId)}</span>`,
      },
      { heading: "Queue", cell: ({ family, queue }) => `${family}.${queue}` },
      { heading: "Site", cell: ({ siteId }) => siteLink(siteId) },
      { heading: "Failed", cell: ({ endedAt }) => ago(endedAt, now) },
      { heading: "Tries", numeric: true, cell: ({ attempts }) => attempts },
      { heading: "Why", cell: (job) => failureText(job) },
    ],
    { caption: "Failed jobs, newest first", empty: "No failed job. " },
  );
  const everything =
    jobs.length > 0 &&
    html`<label class="every"><input type="checkbox" data-all> Select all on this page</label>`;
  return {
    ...{ title: "Failed jobs", section: "/failed", topics: ["jobs"] },
    body: html`${filterForm("/failed", query, true)}<form method="post" action="/failed" data-bulk>${formSecretField(page)}${hidden(query)}${bulk(page, query, jobs.length > 0)}${everything}${shown}</form>${nextPage("/failed", query, nextPageToken)}`,
  };
}

/** All of a search, or all; which is never meant by an empty selection. */
function everyJob(query: JobQuery, now: Date): FailedJobs {
  const { queuedAfter, ...wish } = jobsRequest(query, { token: "", now, size });
  if (queuedAfter)
    throw invalid([{ field: "since", description: "cannot be used for all jobs of a search" }]);
  const { family, name, queue, siteId, serverId, tag, failureCode, chainId, batchId } = wish;
  const filter = { family, name, queue, siteId, serverId, tag, failureCode, chainId, batchId };
  const isFiltered = Object.values(filter).some((value) => value !== "");
  return FailedJobs.fromPartial(isFiltered ? { filter } : { all: true });
}

/** How many were asked for, of how many. */
async function outcomeOf(steps: AsyncIterable<{ progress: FailedJobsProgress | undefined }>) {
  const told = { n: 0, of: 0 };
  for await (const { progress } of steps) {
    if (!progress) continue;
    const again = progress.results.filter(
      ({ outcome }) => outcome === FailedJobOutcome.ALREADY_REQUESTED,
    );
    told.of = Math.max(Number(progress.total), Number(progress.done));
    told.n = Number(progress.requested) + again.length;
  }
  return told;
}

/** `POST /failed`. */
export async function actOnFailed({ services, form, now, signal }: Action): Promise<string> {
  const query = { ...jobQuery(form), state: "" };
  const [verb, every] = (form.get("do") ?? "").split("-");
  const jobIds = form.getAll("job");
  const back = { ...query };
  if (every !== "all" && jobIds.length === 0) return linkTo("/failed", { ...back, did: "none" });
  const jobs = every === "all" ? everyJob(query, now) : FailedJobs.fromPartial({ jobIds });
  const settings = { signal, deadlineMs: longMs };
  const request = { jobs, reason: "asked on the dashboard" };
  if (verb !== "retry" && verb !== "forget")
    throw invalid([{ field: "do", description: "must be retry or forget" }]);
  const { n, of } = await outcomeOf(
    verb === "retry"
      ? services.jobs.retryJobs(request, settings)
      : services.jobs.forgetJobs(request, settings),
  );
  return linkTo("/failed", { ...back, did: verb, n: String(n), of: String(of) });
}
