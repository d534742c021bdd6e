/** Alerts: what needs attention now, and what did. */
import type { Alert } from "@chom/proto/chom/scheduler/v1/alerts";
import { ago } from "../view/format.ts";
import { type Html, html } from "../view/html.ts";
import type { View } from "../view/layout.ts";
import { linkTo, status, table } from "../view/parts.ts";
import type { Page } from "../web/page.ts";

const number = (value: number): string =>
  value.toLocaleString("en-US", { maximumFractionDigits: 1 });

export const alertTable = (alerts: readonly Alert[], { now }: Page): Html =>
  table(
    alerts,
    [
      {
        heading: "State",
        cell: ({ active }) => (active ? status("bad", "active") : status("good", "resolved")),
      },
      { heading: "Rule", cell: ({ rule }) => html`<code>${rule}</code>` },
      { heading: "About", cell: ({ subject }) => subject },
      { heading: "What", cell: ({ message }) => message },
      {
        heading: "Value",
        numeric: true,
        cell: ({ value, threshold }) => `${number(value)} of ${number(threshold)}`,
      },
      { heading: "Raised", cell: ({ raisedAt }) => ago(raisedAt, now) },
      { heading: "Resolved", cell: ({ resolvedAt }) => ago(resolvedAt, now) },
    ],
    { caption: "Alerts", empty: "Nothing needs attention." },
  );

/** `/alerts`. */
export async function alertsPage(page: Page): Promise<View> {
  const { services, query } = page;
  const all = query.get("all") === "1";
  const { alerts, nextPageToken } = await services.alerts.listAlerts({
    ...{ includeResolved: all, rule: "", pageSize: 100, minPosition: 0n },
    pageToken: query.get("page") ?? "",
  });
  const more =
    nextPageToken !== "" &&
    html`<p><a href="${linkTo("/alerts", { all: all ? "1" : "", page: nextPageToken })}">Older alerts</a></p>`;
  return {
    ...{ title: "Alerts", section: "/alerts", topics: ["alerts"] },
    body: html`<p class="switch-line"><a href="/alerts"${!all && html` aria-current="true"`}>Active</a> <a href="/alerts?all=1"${all && html` aria-current="true"`}>With resolved ones</a></p>${alertTable(alerts, page)}${more}`,
  };
}
