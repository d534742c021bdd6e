/** What jobs are searched by: the fields of the form, the query of its address, and the request they make. */
import { JobState, ListJobsRequest } from "@chom/proto/chom/jobs/v1/jobs";
import { word } from "../view/format.ts";
import { type Html, html } from "../view/html.ts";

const families = ["backup", "provisioning", "ssl", "credentials"] as const;
const queues = ["high", "default", "low"] as const;
const ages: Readonly<Record<string, readonly [string, number]>> = {
  "1h": ["last hour", 3_600_000],
  "24h": ["last 24 h", 86_400_000],
  "7d": ["last 7 days", 7 * 86_400_000],
  "30d": ["last 30 days", 30 * 86_400_000],
};
const states = Object.values(JobState).filter((state) => state !== JobState.UNSPECIFIED);

/** Names of parameters; each empty when it does not filter. */
const names = [
  "id",
  "state",
  "family",
  "name",
  "queue",
  "site",
  "server",
  "tag",
  "code",
  "chain",
  "batch",
  "schedule",
  "since",
] as const;
export type JobQuery = Readonly<Record<(typeof names)[number], string>>;

export const jobQuery = (query: URLSearchParams): JobQuery =>
  Object.fromEntries(names.map((name) => [name, (query.get(name) ?? "").trim()])) as JobQuery;

const select = (
  name: keyof JobQuery,
  label: string,
  value: string,
  options: readonly (readonly [string, string])[],
): Html =>
  html`<label>${label}<select name="${name}"><option value="">any</option>${options.map(
    ([each, text]) =>
      html`<option value="${each}"${each === value && html` selected`}>${text}</option>`,
  )}</select></label>`;

const input = (name: keyof JobQuery, label: string, value: string, hint = ""): Html =>
  html`<label>${label}<input name="${name}" value="${value}" placeholder="${hint}" autocomplete="off" spellcheck="false"></label>`;

const same = (words: readonly string[]) => words.map((each) => [each, each] as const);

/** The form; `fixed` leaves the choice of a state out. */
export function filterForm(path: string, query: JobQuery, fixed = false): Html {
  const rare = [query.server, query.tag, query.chain, query.batch, query.schedule, query.queue];
  return html`<search><form class="filters" action="${path}" method="get">
  ${
    !fixed &&
    select(
      "state",
      "State",
      query.state,
      states.map((state) => [state, word(state)]),
    )
  }
  ${select("family", "Family", query.family, same(families))}
  ${input("name", "Job", query.name, "backup.create")}
  ${input("site", "Site", query.site, "site id")}
  ${input("code", "Failure code", query.code, "disk-full")}
  ${!fixed && input("id", "Id begins with", query.id)}
  ${select(
    "since",
    "Queued",
    query.since,
    Object.entries(ages).map(([age, [text]]) => [age, text]),
  )}
  <details${rare.some((value) => value !== "") && html` open`}><summary>More</summary><div>
  ${select("queue", "Queue", query.queue, same(queues))}${input("server", "Server", query.server, "server id")}${input("tag", "Tag", query.tag)}
  ${input("chain", "Chain", query.chain)}${input("batch", "Batch", query.batch)}${!fixed && input("schedule", "Schedule", query.schedule)}</div></details>
  <div class="actions"><button>Search</button><a class="button quiet" href="${path}">Clear</a></div></form></search>`;
}

/** The request of the first page, or of the one that a token names. */
export function jobsRequest(
  query: JobQuery,
  page: { token: string; now: Date; size: number },
): ListJobsRequest {
  const age = ages[query.since]?.[1];
  return ListJobsRequest.fromPartial({
    ...{ family: query.family, name: query.name, queue: query.queue, siteId: query.site },
    ...{ serverId: query.server, tag: query.tag, failureCode: query.code, chainId: query.chain },
    ...{ batchId: query.batch, scheduleId: query.schedule, idPrefix: query.id.toLowerCase() },
    ...(query.state === "" ? {} : { states: [query.state as JobState] }),
    // In whole minutes, so that the token of the next page is one of the same search.
    ...(age === undefined
      ? {}
      : { queuedAfter: new Date(Math.floor((page.now.getTime() - age) / 3_600_000) * 3_600_000) }),
    ...{ pageSize: page.size, pageToken: page.token },
  });
}
