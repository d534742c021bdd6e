/** Alerts on what went wrong inside: read models, reactors, the log, the signer, the audit. */
import type { Alert } from "./alert.ts";

const projection = { service_name: "scheduler", projection: "job-list" };
const of = 'service_name="scheduler",projection="job-list"';
const appends = (slow: number) => ({
  'chom_log_append_seconds_bucket{stream="EVENTS",le="1"}': `0+${100 - slow}x40`,
  'chom_log_append_seconds_bucket{stream="EVENTS",le="2.5"}': "0+100x40",
  'chom_log_append_seconds_bucket{stream="EVENTS",le="+Inf"}': "0+100x40",
});

export const faultAlerts: readonly Alert[] = [
  {
    name: "ChomProjectionBehind",
    expr: "min by (service_name, projection) (chom_projection_behind_seconds) > 60",
    for: "1m",
    severity: "page",
    summary: "A read model has not caught up for a minute.",
    runbook: "projection-behind",
    firing: {
      series: { [`chom_projection_behind_seconds{${of}}`]: "70x10" },
      at: "5m",
      labels: projection,
    },
    silent: { series: { [`chom_projection_behind_seconds{${of}}`]: "59x10" }, at: "5m" },
  },
  {
    name: "ChomProjectionHalted",
    expr: "max by (service_name, projection) (chom_projection_halted) > 0",
    for: "0m",
    severity: "page",
    summary: "A read model stands still until a person acts.",
    runbook: "projection-halted",
    firing: {
      series: { [`chom_projection_halted{${of}}`]: "1x10" },
      at: "5m",
      labels: projection,
    },
    silent: { series: { [`chom_projection_halted{${of}}`]: "0x10" }, at: "5m" },
  },
  {
    name: "ChomReactorBehind",
    expr: "min by (service_name, reactor) (chom_reactor_pending) > 100",
    for: "5m",
    severity: "page",
    summary: "A reactor has had more than 100 events before it for five minutes.",
    runbook: "reactor-behind",
    firing: {
      series: { 'chom_reactor_pending{service_name="ssl",reactor="secure-sites"}': "101x20" },
      at: "10m",
      labels: { service_name: "ssl", reactor: "secure-sites" },
    },
    silent: {
      series: { 'chom_reactor_pending{service_name="ssl",reactor="secure-sites"}': "100x20" },
      at: "10m",
    },
  },
  {
    name: "ChomQuarantine",
    expr: "max(chom_quarantine_messages) > 0 or sum(increase(chom_quarantined_total[15m])) > 0",
    for: "0m",
    severity: "page",
    summary: "An event or a work item was put into quarantine.",
    runbook: "quarantine",
    firing: { series: { chom_quarantine_messages: "1x10" }, at: "5m" },
    silent: {
      series: { chom_quarantine_messages: "0x10", chom_quarantined_total: "3x10" },
      at: "5m",
    },
  },
  {
    name: "ChomSignerDenials",
    expr: "sum by (code) (increase(chom_signer_denials_total[10m])) > 0",
    for: "0m",
    severity: "page",
    summary: "The signer refused a log-in: somebody asked for what no job needs.",
    runbook: "signer-denials",
    firing: {
      series: { 'chom_signer_denials_total{code="signer-refused"}': "0x5 1x10" },
      at: "8m",
      labels: { code: "signer-refused" },
    },
    silent: { series: { 'chom_signer_denials_total{code="signer-refused"}': "4x20" }, at: "15m" },
  },
  {
    name: "ChomDoctorFinds",
    expr: 'max by (service_name, check) (chom_doctor_findings{severity="critical"}) > 0',
    for: "15m",
    severity: "ticket",
    summary: "The doctor finds something critical that does not mend itself.",
    runbook: "doctor-finds",
    firing: {
      series: {
        'chom_doctor_findings{service_name="scheduler",check="job-list",severity="critical"}':
          "1x30",
      },
      at: "20m",
      labels: { service_name: "scheduler", check: "job-list" },
    },
    silent: {
      series: {
        'chom_doctor_findings{service_name="scheduler",check="job-list",severity="critical"}':
          "0x30",
        'chom_doctor_findings{service_name="scheduler",check="quarantine",severity="warning"}':
          "1x30",
      },
      at: "20m",
    },
  },
  {
    name: "ChomAuditBroken",
    expr: "max(chom_audit_broken_chains) > 0",
    for: "0m",
    severity: "page",
    summary: "A chain of the audit is broken or cannot be checked.",
    runbook: "audit-broken",
    firing: { series: { chom_audit_broken_chains: "1x5" }, at: "3m" },
    silent: { series: { chom_audit_broken_chains: "0x5" }, at: "3m" },
  },
  {
    name: "ChomQueueStands",
    expr: "max by (family, queue) (chom_queue_oldest_ready_seconds) > 600",
    for: "5m",
    severity: "page",
    summary: "A job that is due has not been started for ten minutes: nobody takes work.",
    runbook: "queue-stands",
    firing: {
      series: { 'chom_queue_oldest_ready_seconds{family="ssl",queue="high"}': "601x20" },
      at: "10m",
      labels: { family: "ssl", queue: "high" },
    },
    silent: {
      series: { 'chom_queue_oldest_ready_seconds{family="ssl",queue="high"}': "600x20" },
      at: "10m",
    },
  },
  {
    name: "ChomLogSlow",
    expr: "histogram_quantile(0.99, sum by (stream, le) (rate(chom_log_append_seconds_bucket[10m]))) > 1",
    for: "10m",
    severity: "ticket",
    summary: "One append to the event log in a hundred takes more than a second.",
    runbook: "log-slow",
    firing: { series: appends(5), at: "30m", labels: { stream: "EVENTS" } },
    silent: { series: appends(0.5), at: "30m" },
  },
  {
    name: "ChomBrokerFlaps",
    expr: "sum by (service_name) (increase(chom_nats_reconnects_total[10m])) > 5",
    for: "0m",
    severity: "ticket",
    summary: "A service has lost its broker more than five times within ten minutes.",
    runbook: "broker-flaps",
    firing: {
      series: { 'chom_nats_reconnects_total{service_name="ssl"}': "0+1x20" },
      at: "15m",
      labels: { service_name: "ssl" },
    },
    silent: {
      series: { 'chom_nats_reconnects_total{service_name="ssl"}': "0x10 1x10" },
      at: "15m",
    },
  },
];
