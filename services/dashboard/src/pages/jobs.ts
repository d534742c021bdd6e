/** The list of jobs, searched and filtered. */
import type { Job } from "@chom/proto/chom/jobs/v1/jobs";
import { JobState } from "@chom/proto/chom/jobs/v1/jobs";
import { ago, span } from "../view/format.ts";
import { type Html, html, type Value } from "../view/html.ts";
import type { View } from "../view/layout.ts";
import {
  type Column,
  jobLink,
  jobStatus,
  linkTo,
  progress,
  siteLink,
  table,
} from "../view/parts.ts";
import { caughtUp, type Page } from "../web/page.ts";
import { filterForm, jobQuery, jobsRequest } from "./job-filter.ts";

const size = 50;

export const failureText = ({ failure }: Pick<Job, "failure">): Value =>
  failure && html`<span class="failure"><code>${failure.code}</code> ${failure.message}</span>`;

function outcome(job: Job): Value {
  if (job.state === JobState.RUNNING && job.percent > 0)
    return progress(job.percent, `Progress of ${job.jobId}`);
  return job.failure ? failureText(job) : job.reason;
}

const jobColumns = (now: Date): readonly Column<Job>[] => [
  { heading: "State", cell: ({ state }) => jobStatus(state) },
  {
    heading: "Job",
    cell: ({ jobId, name }) => html`<span class="two"><b>${name}</b>${jobLink(jobId)}</span>`,
  },
  { heading: "Site", cell: ({ siteId }) => siteLink(siteId) },
  { heading: "Queued", cell: ({ queuedAt }) => ago(queuedAt, now) },
  {
    heading: "Took",
    numeric: true,
    cell: ({ startedAt, endedAt }) =>
      startedAt && endedAt && endedAt >= startedAt
        ? span(endedAt.getTime() - startedAt.getTime())
        : html`<span class="none">–</span>`,
  },
  { heading: "Tries", numeric: true, cell: ({ attempts, tries }) => `${attempts}/${tries}` },
  { heading: "What", cell: outcome },
];

export const jobTable = (jobs: readonly Job[], now: Date, empty = "No job is like this."): Html =>
  table(jobs, jobColumns(now), { caption: "Jobs, newest first", empty });

/** The link to the page after this one. */
export const nextPage = (
  path: string,
  query: Readonly<Record<string, string>>,
  token: string,
): Value =>
  token !== "" &&
  html`<p class="pages"><a class="button quiet" href="${linkTo(path, { ...query, page: token })}" rel="next">Older</a></p>`;

/** `/jobs`. */
export async function jobsPage(page: Page): Promise<View> {
  const { services, now } = page;
  const query = jobQuery(page.query);
  const request = jobsRequest(query, { token: page.query.get("page") ?? "", now, size });
  const { jobs, nextPageToken } = await caughtUp(page, (minPosition) =>
    services.jobs.listJobs({ ...request, minPosition }),
  );
  return {
    ...{ title: "Jobs", section: "/jobs", topics: ["jobs"] },
    body: html`${filterForm("/jobs", query)}${jobTable(jobs, now)}${nextPage("/jobs", query, nextPageToken)}`,
  };
}
