/** One site with its whole history: what provisioning, backups and certificates wrote down of it, as one timeline. */
import type { Backup } from "@chom/proto/chom/backup/v1/backup";
import type { Event } from "@chom/proto/chom/events/v1/events";
import { ListJobsRequest } from "@chom/proto/chom/jobs/v1/jobs";
import type { Certificate } from "@chom/proto/chom/ssl/v1/ssl";
import { classify } from "@chom/shared/failure/failure";
import { ago, size, word } from "../view/format.ts";
import { type Html, html, type Value } from "../view/html.ts";
import type { View } from "../view/layout.ts";
import { facts, jobLink, linkTo, panel, status, table, type Tone } from "../view/parts.ts";
import { type Page, part } from "../web/page.ts";
import { jobTable } from "./jobs.ts";
import { siteStatus } from "./sites.ts";

/** Their ids are the site's. */
const aggregates = ["site", "backups", "certificate"] as const;
/** More than this of one kind is told from its end. */
const keptMax = 2_000;
const shownMax = 100;

async function eventsOf(page: Page, siteId: string, aggregate: string): Promise<Event[]> {
  const wish = {
    afterPosition: 0n,
    types: [],
    aggregate,
    aggregateId: siteId,
    stopAtEnd: true,
    fromNow: false,
  };
  const kept: Event[] = [];
  for await (const { event } of page.services.events.subscribe(wish, {
    signal: page.signal,
    deadlineMs: 20_000,
  })) {
    if (event) kept.push(event);
    if (kept.length >= keptMax * 2) kept.splice(0, keptMax);
  }
  return kept.slice(-keptMax);
}

/** Everything that was written down of a site, newest first. */
async function historyOf(page: Page, siteId: string): Promise<Event[]> {
  const all = await Promise.all(aggregates.map((aggregate) => eventsOf(page, siteId, aggregate)));
  return all.flat().toSorted((one, other) => Number(other.position - one.position));
}

/** `BackupCompleted` as `Backup completed`. */
const sentence = (type: string): string => {
  const words = type.slice(type.lastIndexOf(".") + 1).replace(/(?<=[a-z])(?=[A-Z])/g, " ");
  return words.charAt(0) + words.slice(1).toLowerCase();
};

const toneOf = (type: string): Tone => {
  if (/(Failed|Corrupt|Mismatched)$/.test(type)) return "bad";
  if (/(RolledBack|Deferred|Expired|Dropped)$/.test(type)) return "warn";
  if (/(Completed|Provisioned|Issued|Renewed|Verified)$/.test(type)) return "good";
  return "idle";
};

type Data = Readonly<Record<string, unknown>>;
const textIn = (data: Data, name: string): string => {
  const value = data[name];
  return typeof value === "string" || typeof value === "number" ? String(value) : "";
};

/** What people ask of an event first: why, how much, until when; and the job that it came from. */
function noteOf({ dataJson, actor }: Event): Value {
  const data = JSON.parse(dataJson) as Data;
  const [code, message] = [textIn(data, "code"), textIn(data, "message") || textIn(data, "reason")];
  const bytes = textIn(data, "sizeBytes");
  const facts: Value[] = [
    code !== "" && html`<code>${code}</code> ${message}`,
    code === "" && message,
    textIn(data, "kind") !== "" && word(textIn(data, "kind")),
    bytes !== "" && bytes !== "0" && size(BigInt(bytes)),
    textIn(data, "notAfter") !== "" && `valid until ${textIn(data, "notAfter").slice(0, 10)}`,
    textIn(data, "backupId") !== "" &&
      html`backup <span class="id">${textIn(data, "backupId")}</span>`,
    textIn(data, "jobId") !== "" && html`job ${jobLink(textIn(data, "jobId"))}`,
    actor !== "" && `by ${actor}`,
  ].filter((each) => each !== false && each !== "");
  return facts.map((fact, at) => html`${at > 0 && " · "}${fact}`);
}

function timeline(events: readonly Event[], page: Page, siteId: string): Html {
  if (events.length === 0) return html`<p class="empty">Nothing was written down yet.</p>`;
  const from = Math.max(0, Math.trunc(Number(page.query.get("from")) || 0));
  const shown = events.slice(from, from + shownMax);
  const older =
    from + shownMax < events.length &&
    html`<p class="pages"><a class="button quiet" href="${linkTo(`/sites/${encodeURIComponent(siteId)}`, { from: String(from + shownMax) })}">Older</a></p>`;
  return html`<ol class="timeline">${shown.map(
    (event) =>
      html`<li class="${toneOf(event.type)}">${status(toneOf(event.type), "")}<div><p><b>${sentence(event.type)}</b></p><p class="note">${noteOf(event)}</p></div>${ago(event.time, page.now)}</li>`,
  )}</ol>${older}`;
}

const backupTones: Readonly<Record<string, Tone>> = {
  available: "good",
  verified: "good",
  corrupt: "bad",
  failed: "bad",
  pending: "busy",
  expired: "idle",
};

const backupTable = (backups: readonly Backup[], now: Date): Html =>
  table(
    backups.toReversed().slice(0, 20),
    [
      {
        heading: "State",
        cell: (each) => status(backupTones[word(each.status)] ?? "idle", word(each.status)),
      },
      {
        heading: "Kind",
        cell: ({ kind, safetyPoint }) => html`${word(kind)}${safetyPoint && " (before a restore)"}`,
      },
      { heading: "Size", numeric: true, cell: ({ sizeBytes }) => size(sizeBytes) },
      { heading: "Created", cell: ({ createdAt }) => ago(createdAt, now) },
      { heading: "Checked", cell: ({ verifiedAt }) => ago(verifiedAt, now) },
    ],
    { caption: "Backups, newest first", empty: "No backup." },
  );

/** The newest come last: pages are walked to the end, which retention keeps near. */
async function newestBackups({ services }: Page, siteId: string): Promise<Backup[]> {
  let newest: Backup[] = [];
  for (let pageToken = "", pages = 0; pages < 20; pages += 1) {
    const found = await services.backup.listBackups({
      siteId,
      pageSize: 500,
      pageToken,
      minPosition: 0n,
    });
    newest = [...newest, ...found.backups].slice(-20);
    if (found.nextPageToken === "") break;
    pageToken = found.nextPageToken;
  }
  return newest;
}

async function certificateOf({ services }: Page, siteId: string): Promise<Certificate | undefined> {
  try {
    return (await services.ssl.getCertificate({ siteId, minPosition: 0n })).certificate;
  } catch (error) {
    if (classify(error).kind === "not-found") return undefined;
    throw error;
  }
}

const certificateFacts = (found: Certificate | undefined, now: Date): Html =>
  found === undefined
    ? html`<p class="empty">No certificate.</p>`
    : facts([
        ["State", word(found.status)],
        ["Issuer", found.issuer],
        ["Ends", ago(found.notAfter, now)],
        ["Renewal", ago(found.renewAt, now)],
        ["Why", found.reason],
      ]);

/** `/sites/:id`. */
export async function sitePage(page: Page): Promise<View> {
  const { services, params, now } = page;
  const siteId = params["id"] ?? "";
  const { site } = await services.sites.getSite({ siteId, minPosition: 0n });
  const jobs = services.jobs.listJobs(ListJobsRequest.fromPartial({ siteId, pageSize: 20 }));
  const [history, backups, certificate, recent] = await Promise.all([
    part(historyOf(page, siteId), (events) => timeline(events, page, siteId)),
    part(newestBackups(page, siteId), (found) => backupTable(found, now)),
    part(certificateOf(page, siteId), (found) => certificateFacts(found, now)),
    part(
      jobs,
      (found) =>
        html`${jobTable(found.jobs, now, "No job yet.")}<p><a href="${linkTo("/jobs", { site: siteId })}">All jobs of this site</a></p>`,
    ),
  ]);
  return {
    ...{ title: site?.domain ?? "Site", section: "/sites", topics: [`site:${siteId}`] },
    body: html`<div class="headline"><p>${site && siteStatus(site.status)}</p></div>
    ${site && site.failureCode !== "" && html`<div class="failed"><p><code>${site.failureCode}</code> ${site.failureMessage}</p></div>`}
    <div class="pair wide">${panel("History", history)}<div>${panel(
      "About this site",
      facts([
        ["Id", html`<span class="id">${siteId}</span>`],
        [
          "Server",
          site &&
            html`<a class="id" href="/servers/${encodeURIComponent(site.serverId)}">${site.serverId}</a>`,
        ],
        ["Kind", site && `${word(site.kind)} ${site.phpVersion}`],
        ["Folder", site?.rootPath],
        ["Unix user", site?.systemUser],
        ["Database", site?.databaseName],
        ["Created", ago(site?.createdAt, now)],
        ["In service", ago(site?.provisionedAt, now)],
      ]),
    )}${panel("Certificate", certificate)}${panel("Backups", backups)}</div></div>
    ${panel("Jobs", recent)}`,
  };
}
