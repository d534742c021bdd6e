/** Servers: whether each can be reached, how old its key is, and what runs there. */
import { type Server, ServerStatus } from "@chom/proto/chom/credentials/v1/credentials";
import type {
  PreviewRotationResponse,
  RotationState,
} from "@chom/proto/chom/credentials/v1/rotations";
import { type Job, JobState, ListJobsRequest } from "@chom/proto/chom/jobs/v1/jobs";
import { ago } from "../view/format.ts";
import { type Html, html, type Value } from "../view/html.ts";
import type { View } from "../view/layout.ts";
import { facts, panel, status, table, type Tone, linkTo } from "../view/parts.ts";
import { type Page, part } from "../web/page.ts";
import { jobTable, nextPage } from "./jobs.ts";
import { siteTable } from "./sites.ts";

const tones: Readonly<Partial<Record<ServerStatus, readonly [Tone, string]>>> = {
  [ServerStatus.PENDING]: ["idle", "key not installed"],
  [ServerStatus.ACTIVE]: ["good", "active"],
  [ServerStatus.QUARANTINED]: ["bad", "quarantined: another host key"],
};

const shownStatus = (value: ServerStatus): Html => status(...(tones[value] ?? ["idle", "unknown"]));

const dayMs = 86_400_000;

function keyAge(server: Server, due: RotationState | undefined, now: Date): Html {
  const since = due?.lastRotatedAt ?? server.rotatedAt ?? server.registeredAt;
  const days = since ? Math.floor((now.getTime() - since.getTime()) / dayMs) : 0;
  const overdue = (due?.daysOverdue ?? -1) >= 0 && due?.due === true;
  return overdue ? status("warn", `${days} days, ${due?.daysOverdue} overdue`) : html`${days} days`;
}

const pathOf = (serverId: string): string => `/servers/${encodeURIComponent(serverId)}`;

/** Jobs that failed or are parked, of the last that ran on each server: its health as work sees it. */
function troubleOf(serverId: string, jobs: readonly Job[]): Value {
  const here = jobs.filter((job) => job.serverId === serverId);
  return here.length === 0
    ? html`<span class="none">none</span>`
    : html`<a href="${linkTo("/jobs", { server: serverId, state: here[0]?.state ?? "" })}">${status("bad", `${here.length} failed or parked`)}</a>`;
}

const badJobs = ({ services }: Page): Promise<{ jobs: Job[] }> =>
  services.jobs.listJobs(
    ListJobsRequest.fromPartial({ states: [JobState.FAILED, JobState.PARKED], pageSize: 500 }),
  );

function serverTable(
  servers: readonly Server[],
  rotation: PreviewRotationResponse | undefined,
  bad: readonly Job[],
  now: Date,
): Html {
  const dueOf = (id: string) => rotation?.servers.find(({ serverId }) => serverId === id);
  return table(
    servers,
    [
      { heading: "State", cell: (each) => shownStatus(each.status) },
      {
        heading: "Server",
        cell: ({ serverId, name }) =>
          html`<span class="two"><a href="${pathOf(serverId)}"><b>${name}</b></a><span class="id">${serverId}</span></span>`,
      },
      {
        heading: "Address",
        cell: ({ user, address, port }) => html`<span class="id">${user}@${address}:${port}</span>`,
      },
      { heading: "Key age", cell: (each) => keyAge(each, dueOf(each.serverId), now) },
      { heading: "Jobs in trouble", cell: ({ serverId }) => troubleOf(serverId, bad) },
      { heading: "Registered", cell: ({ registeredAt }) => ago(registeredAt, now) },
    ],
    { caption: "Servers", empty: "No server is registered." },
  );
}

/** `/servers`. */
export async function serversPage(page: Page): Promise<View> {
  const { services, query, now } = page;
  const asked = services.servers.listServers({
    pageSize: 100,
    pageToken: query.get("page") ?? "",
    minPosition: 0n,
  });
  // Neither takes the list with it.
  const [rotation, bad] = await Promise.all([
    services.rotations
      .previewRotation({ serverId: "", force: false, pageSize: 500, pageToken: "" })
      .catch(() => undefined),
    badJobs(page).catch(() => ({ jobs: [] })),
  ]);
  const { servers, nextPageToken } = await asked;
  return {
    ...{ title: "Servers", section: "/servers", topics: ["servers"] },
    body: html`${serverTable(servers, rotation, bad.jobs, now)}${rotation && html`<p class="hint">A key is due after ${rotation.maxAgeDays} days.</p>`}${nextPage("/servers", {}, nextPageToken)}`,
  };
}

const keyTones: Readonly<Record<string, Tone>> = {
  CURRENT: "good",
  OVERLAP: "warn",
  STAGED: "busy",
  RETIRED: "idle",
};

const keyTable = ({ keys }: Server, now: Date): Html =>
  table(
    keys,
    [
      {
        heading: "State",
        cell: (key) =>
          status(
            keyTones[key.status.replace("KEY_STATUS_", "")] ?? "idle",
            key.status.replace("KEY_STATUS_", "").toLowerCase(),
          ),
      },
      {
        heading: "Fingerprint",
        cell: ({ fingerprint }) => html`<span class="id">${fingerprint}</span>`,
      },
      { heading: "Made", cell: ({ createdAt }) => ago(createdAt, now) },
      { heading: "Retired at", cell: ({ retireAt }) => ago(retireAt, now) },
    ],
    { caption: "Keys", empty: "No key." },
  );

/** `/servers/:id`. */
export async function serverPage(page: Page): Promise<View> {
  const { services, params, now } = page;
  const serverId = params["id"] ?? "";
  const { server } = await services.servers.getServer({ serverId, minPosition: 0n });
  const jobs = services.jobs.listJobs(ListJobsRequest.fromPartial({ serverId, pageSize: 20 }));
  const sites = services.sites.listSites({
    serverId,
    pageSize: 100,
    pageToken: "",
    minPosition: 0n,
  });
  const [recent, hosted] = await Promise.all([
    part(jobs, (found) => jobTable(found.jobs, now, "No job ran here.")),
    part(sites, (found) => siteTable(found.sites, now)),
  ]);
  return {
    ...{ title: server?.name ?? "Server", section: "/servers", topics: [`server:${serverId}`] },
    body: html`<div class="headline"><p>${server && shownStatus(server.status)}</p></div>
    <div class="pair">${panel(
      "About this server",
      facts([
        ["Id", html`<span class="id">${serverId}</span>`],
        [
          "Address",
          html`<span class="id">${server?.user}@${server?.address}:${server?.port}</span>`,
        ],
        ["Registered", ago(server?.registeredAt, now)],
        ["Key rotated", ago(server?.rotatedAt, now)],
        ["Host keys", server?.hostKeys.length],
      ]),
    )}${panel("Keys", server && keyTable(server, now))}</div>
    ${panel("Sites", hosted)}${panel("Jobs", recent)}`,
  };
}
