/** Prometheus' files, made of the alerts: the rules that are deployed, and the cases that promtool evaluates. */
import type { Alert, Case } from "./alert.ts";
import { burnAlerts, burnRecordings } from "./burn-rates.ts";
import { deadManAlerts } from "./dead-man-alerts.ts";
import { faultAlerts } from "./fault-alerts.ts";
import { specAlerts } from "./spec-alerts.ts";

export const alerts: readonly Alert[] = [
  ...specAlerts,
  ...burnAlerts,
  ...deadManAlerts,
  ...faultAlerts,
];

const annotationsOf = ({ summary, runbook }: Alert) => ({
  summary,
  runbook_url: `docs/runbooks/${runbook}.md`,
});

const ruleOf = (alert: Alert) => ({
  alert: alert.name,
  expr: alert.expr,
  for: alert.for,
  labels: { severity: alert.severity },
  annotations: annotationsOf(alert),
});

const group = (name: string, rules: readonly object[]) => ({ name, rules });

/** The file of rules. */
export const ruleFile = {
  groups: [
    group("chom-recordings", burnRecordings),
    group("chom-spec", specAlerts.map(ruleOf)),
    group("chom-burn-rates", burnAlerts.map(ruleOf)),
    group("chom-dead-man", deadManAlerts.map(ruleOf)),
    group("chom-faults", faultAlerts.map(ruleOf)),
  ],
};

const everyOf = ({ every = "1m" }: Case) => every;

function testOf(alert: Alert, looked: Case, expected: readonly object[]) {
  const { series, at } = looked;
  return {
    interval: everyOf(looked),
    input_series: Object.entries(series).map(([name, values]) => ({ series: name, values })),
    alert_rule_test: [{ eval_time: at, alertname: alert.name, exp_alerts: expected }],
  };
}

function casesOf(alert: Alert, every: string) {
  const { firing, silent, severity } = alert;
  const exp_labels = { severity, ...firing.labels };
  const fires = [{ exp_labels, exp_annotations: annotationsOf(alert) }];
  return [
    ...(everyOf(firing) === every ? [testOf(alert, firing, fires)] : []),
    ...(everyOf(silent) === every ? [testOf(alert, silent, [])] : []),
  ];
}

/** promtool's files of cases, one for each interval: each alert fires once and is silent once. */
export function ruleTests(rules: string) {
  const intervals = new Set(alerts.flatMap(({ firing, silent }) => [firing, silent].map(everyOf)));
  return [...intervals].map((every) => ({
    rule_files: [rules],
    evaluation_interval: every,
    // Else promtool takes them in any order, and an alert may look before what it asks for is recorded.
    group_eval_order: ruleFile.groups.map(({ name }) => name),
    tests: alerts.flatMap((alert) => casesOf(alert, every)),
  }));
}
