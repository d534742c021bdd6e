/** What an entry of the logs makes stale, in words that pages subscribe to. */
import type { Event } from "@chom/proto/chom/events/v1/events";
import type { WatchJobsResponse } from "@chom/proto/chom/jobs/v1/jobs";

const named = (kind: string, id: string): readonly string[] => (id === "" ? [] : [`${kind}:${id}`]);

/** Of an entry of a job's journal. */
export const topicsOfJob = ({ jobId, siteId, serverId }: WatchJobsResponse): readonly string[] => [
  ...["jobs", `job:${jobId}`],
  ...named("site", siteId),
  ...named("server", serverId),
];

const byAggregate: Readonly<Record<string, readonly string[]>> = {
  chain: ["flows"],
  batch: ["flows"],
  schedule: ["schedules"],
  "schedule-ticks": ["schedules"],
  alert: ["alerts"],
  server: ["servers"],
  site: ["sites"],
  backups: ["sites", "backups"],
  certificate: ["sites", "certificates"],
};
const aboutSites = new Set(["site", "backups", "certificate"]);

/** Of an event; `subject` is `<aggregate>/<id>`. */
export function topicsOfEvent({ subject }: Event): readonly string[] {
  const cut = subject.indexOf("/");
  const [aggregate, id] = [subject.slice(0, cut), subject.slice(cut + 1)];
  return [
    ...(byAggregate[aggregate] ?? []),
    ...(aboutSites.has(aggregate) ? [`site:${id}`] : []),
    ...(aggregate === "server" ? [`server:${id}`] : []),
  ];
}
