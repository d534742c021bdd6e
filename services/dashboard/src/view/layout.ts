/** What surrounds every page: head, skip link, navigation, who is signed in, and whether the page is live. */
import type { GetCallerResponse } from "@chom/proto/chom/credentials/v1/tokens";
import { type Html, html, type Value } from "./html.ts";
import { linkTo } from "./parts.ts";

export type View = {
  readonly title: string;
  /** Path of the entry in the navigation that this page belongs to. */
  readonly section: string;
  readonly body: Html;
  /** What makes it stale, as live/topics.ts names it; none for a page that never changes. */
  readonly topics?: readonly string[];
  readonly status?: number;
};

export type Frame = {
  /** Prefix of the assets of this build. */
  readonly assets: string;
  /** Absent on the page to sign in. */
  readonly caller?: GetCallerResponse;
  readonly formSecret: string;
  /** How far the live stream of this session is, empty when nobody follows it yet. */
  readonly livePosition: string;
  /** What was just done, for the notice. */
  readonly notice?: string | undefined;
};

const sections = [
  ["/", "Overview"],
  ["/jobs", "Jobs"],
  ["/failed", "Failed jobs"],
  ["/flows", "Chains and batches"],
  ["/schedules", "Schedules"],
  ["/sites", "Sites"],
  ["/servers", "Servers"],
  ["/alerts", "Alerts"],
] as const;

const navigation = (section: string): Html =>
  html`<nav aria-label="Main"><ul>${sections.map(
    ([path, name]) =>
      html`<li><a href="${path}"${section === path ? html` aria-current="page"` : ""}>${name}</a></li>`,
  )}</ul></nav>`;

const identity = ({ actor, tenant }: GetCallerResponse, formSecret: string): Html =>
  html`<div class="who"><p><span class="unseen">Signed in as </span><b>${actor}</b><span>${tenant}</span></p>
    <form method="post" action="/sign-out"><input type="hidden" name="form" value="${formSecret}"><button class="quiet">Sign out</button></form></div>`;

const liveChip = html`<p id="live" class="live" role="status" data-state="off"><span>Not live</span></p>`;

/** Asked before what cannot be taken back; forms that need it name their question in `data-confirm`. */
const dialog = html`<dialog id="confirm" aria-labelledby="confirm-question"><form method="dialog">
  <p id="confirm-question"></p><div class="actions"><button value="no" class="quiet">Keep as it is</button><button value="yes" class="danger" id="confirm-yes">Go on</button></div></form></dialog>`;

const liveOf = ({ topics = [] }: View, { livePosition }: Frame): Value =>
  topics.length > 0 &&
  html` data-live="${linkTo("/live", { topics: topics.join(" "), after: livePosition })}"`;

/** The whole document. */
export function documentOf(view: View, frame: Frame): Html {
  const { assets, caller, notice } = frame;
  return html`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>${view.title} · CHOM</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
<link rel="icon" href="${assets}/icon.svg" type="image/svg+xml"><link rel="stylesheet" href="${assets}/style.css">
<script type="module" src="${assets}/main.js"></script></head>
<body class="${caller ? "app" : "alone"}"${liveOf(view, frame)}>
<a class="skip" href="#main">Skip to content</a>
${caller && html`<header class="side"><a class="brand" href="/"><img src="${assets}/icon.svg" alt="" width="22" height="22">CHOM</a>${navigation(view.section)}${identity(caller, frame.formSecret)}</header>`}
<main id="main" tabindex="-1">
<div class="top"><h1>${view.title}</h1>${caller && liveChip}</div>
${notice !== undefined && html`<p class="notice" role="status">${notice}</p>`}
<div id="content">${view.body}</div>
</main>${caller && dialog}</body></html>`;
}
