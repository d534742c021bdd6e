/** How fast the month's budget of failed jobs burns: 99 % of jobs end well without a person, over 30 days. */
import type { Alert, Recording, Series } from "./alert.ts";

const count = "chom_job_duration_seconds_count";
/** A parked job needs a person, so it is no good end; a cancelled one was not wanted any more. */
const bad = `${count}{outcome=~"failed|parked"}`;
const ended = `${count}{outcome=~"completed|skipped|failed|parked"}`;
const windows = ["5m", "30m", "1h", "6h", "3d"] as const;
type Window = (typeof windows)[number];
const budget = 0.01;
/** With fewer failures in the window a ratio says nothing. */
const failuresMin = 10;

const ratio = (window: Window) => `chom:job_failure_ratio:rate${window}`;

export const burnRecordings: readonly Recording[] = windows.map((window) => ({
  record: ratio(window),
  expr: `sum by (family) (rate(${bad}[${window}])) / sum by (family) (rate(${ended}[${window}]))`,
}));

function burning(long: Window, short: Window, times: number): string {
  const limit = Number((budget * times).toFixed(4));
  const both = `${ratio(long)} > ${limit} and ${ratio(short)} > ${limit}`;
  return `${both} and sum by (family) (increase(${bad}[${long}])) > ${failuresMin}`;
}

/** Between two samples so many ended well and so many failed. */
const load = (good: number, failed: number, samples: number): Series => ({
  [`${count}{family="ssl",job="certificate.issue",outcome="completed"}`]: `0+${good}x${samples}`,
  [`${count}{family="ssl",job="certificate.issue",outcome="failed"}`]: `0+${failed}x${samples}`,
});
const labels = { family: "ssl" };

export const burnAlerts: readonly Alert[] = [
  {
    name: "ChomJobsFailFast",
    expr: burning("1h", "5m", 14.4),
    for: "2m",
    severity: "page",
    summary: "Jobs of a family fail so often that two days of this use up the month's budget.",
    runbook: "jobs-fail",
    firing: { series: load(8, 2, 120), at: "90m", labels },
    // One in five fails here too, but so few that it is chance.
    silent: { series: load(0.4, 0.1, 120), at: "90m" },
  },
  {
    name: "ChomJobsFailSlowly",
    expr: burning("6h", "30m", 6),
    for: "15m",
    severity: "page",
    summary: "Jobs of a family fail so often that five days of this use up the month's budget.",
    runbook: "jobs-fail",
    firing: { series: load(9, 1, 100), at: "8h", every: "5m", labels },
    silent: { series: load(96, 4, 100), at: "8h", every: "5m" },
  },
  {
    name: "ChomJobsFailOften",
    expr: burning("3d", "6h", 1),
    for: "1h",
    severity: "ticket",
    summary: "Jobs of a family fail more often than the objective of 99 % allows.",
    runbook: "jobs-fail",
    firing: { series: load(97, 3, 170), at: "80h", every: "30m", labels },
    silent: { series: load(996, 4, 170), at: "80h", every: "30m" },
  },
];
