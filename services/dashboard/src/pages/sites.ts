/** The list of sites. */
import { type Site, SiteStatus } from "@chom/proto/chom/provisioning/v1/provisioning";
import { ago, shortId, word } from "../view/format.ts";
import { type Html, html } from "../view/html.ts";
import type { View } from "../view/layout.ts";
import { status, table, type Tone } from "../view/parts.ts";
import type { Page } from "../web/page.ts";
import { nextPage } from "./jobs.ts";

const tones: Readonly<Partial<Record<SiteStatus, Tone>>> = {
  [SiteStatus.CREATING]: "busy",
  [SiteStatus.ACTIVE]: "good",
  [SiteStatus.RESTORING]: "busy",
  [SiteStatus.REMOVING]: "busy",
  [SiteStatus.REMOVED]: "idle",
  [SiteStatus.FAILED]: "bad",
};

export const siteStatus = (value: SiteStatus): Html => status(tones[value] ?? "idle", word(value));

export const siteTable = (sites: readonly Site[], now: Date): Html =>
  table(
    sites,
    [
      { heading: "State", cell: (site) => siteStatus(site.status) },
      {
        heading: "Site",
        cell: ({ siteId, domain }) =>
          html`<span class="two"><a href="/sites/${encodeURIComponent(siteId)}"><b>${domain}</b></a><span class="id">${shortId(siteId)}</span></span>`,
      },
      { heading: "Kind", cell: ({ kind, phpVersion }) => `${word(kind)} ${phpVersion}` },
      {
        heading: "Server",
        cell: ({ serverId }) =>
          html`<a class="id" href="/servers/${encodeURIComponent(serverId)}">${shortId(serverId)}</a>`,
      },
      { heading: "TLS", cell: ({ sslEnabled }) => (sslEnabled ? "yes" : "no") },
      { heading: "Created", cell: ({ createdAt }) => ago(createdAt, now) },
      {
        heading: "Why",
        cell: ({ failureCode, failureMessage }) =>
          failureCode !== "" &&
          html`<span class="failure"><code>${failureCode}</code> ${failureMessage}</span>`,
      },
    ],
    { caption: "Sites", empty: "No site." },
  );

/** `/sites`. */
export async function sitesPage(page: Page): Promise<View> {
  const { services, query, now } = page;
  const { sites, nextPageToken } = await services.sites.listSites({
    ...{ serverId: "", pageSize: 100, pageToken: query.get("page") ?? "", minPosition: 0n },
  });
  return {
    ...{ title: "Sites", section: "/sites", topics: ["sites"] },
    body: html`${siteTable(sites, now)}${nextPage("/sites", {}, nextPageToken)}`,
  };
}
