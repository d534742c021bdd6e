/** Alerts on what did not happen: backups, proofs, renewals, rotations, checks. */
import type { Alert } from "./alert.ts";

const services = ["backup", "credentials", "provisioning", "scheduler", "ssl"];
const gauges = [
  "chom_failed_jobs",
  "chom_backup_sites_overdue",
  "chom_certificates_overdue",
  "chom_server_key_oldest_seconds",
  "chom_audit_verified_timestamp_seconds",
];
const ready = (value: string) =>
  Object.fromEntries(services.map((name) => [`chom_ready{service_name="${name}"}`, value]));
const told = (value: string) => Object.fromEntries(gauges.map((name) => [name, value]));
const days = (count: number) => count * 86_400;

export const deadManAlerts: readonly Alert[] = [
  {
    name: "ChomServiceAbsent",
    expr: services.map((name) => `absent(chom_ready{service_name="${name}"})`).join(" or "),
    for: "2m",
    severity: "page",
    summary: "No process of a service is seen.",
    runbook: "service-absent",
    firing: {
      series: { ...ready("1x10"), 'chom_ready{service_name="ssl"}': "1x1 stale" },
      at: "8m",
      labels: { service_name: "ssl" },
    },
    silent: { series: ready("1x10"), at: "8m" },
  },
  {
    name: "ChomServiceNotReady",
    expr: "max by (service_name) (chom_ready) == 0",
    for: "2m",
    severity: "page",
    summary: "No process of a service is ready.",
    runbook: "service-not-ready",
    firing: {
      series: { 'chom_ready{service_name="ssl",instance="a"}': "0x10" },
      at: "5m",
      labels: { service_name: "ssl" },
    },
    silent: {
      series: {
        'chom_ready{service_name="ssl",instance="a"}': "0x10",
        'chom_ready{service_name="ssl",instance="b"}': "1x10",
      },
      at: "5m",
    },
  },
  {
    name: "ChomMeasurementsAbsent",
    expr: gauges.map((name) => `absent(${name})`).join(" or "),
    for: "10m",
    severity: "page",
    summary: "A measurement that other alerts stand on is missing: they are blind.",
    runbook: "measurements-absent",
    firing: { series: { ...told("0x30"), chom_failed_jobs: "0x1 stale" }, at: "20m" },
    silent: { series: told("0x30"), at: "20m" },
  },
  {
    name: "ChomBackupOverdue",
    expr: "max(chom_backup_sites_overdue) > 0",
    for: "15m",
    severity: "page",
    summary: "A site has had no good backup for 26 hours.",
    runbook: "backup-overdue",
    firing: { series: { chom_backup_sites_overdue: "1x30" }, at: "20m" },
    silent: { series: { chom_backup_sites_overdue: "0x30" }, at: "20m" },
  },
  {
    name: "ChomRestoreUnproven",
    expr: `time() - max(chom_restore_proof_timestamp_seconds) > ${days(8)} and max(chom_backup_sites) > 0`,
    for: "1h",
    severity: "ticket",
    summary: "No backup has been proven for 8 days, neither read whole nor restored.",
    runbook: "restore-unproven",
    firing: {
      series: { chom_restore_proof_timestamp_seconds: "0x200", chom_backup_sites: "3x200" },
      at: "195h",
      every: "1h",
    },
    // Nothing to prove yet.
    silent: {
      series: { chom_restore_proof_timestamp_seconds: "0x200", chom_backup_sites: "0x200" },
      at: "195h",
      every: "1h",
    },
  },
  {
    name: "ChomCertificateOverdue",
    expr: "max(chom_certificates_overdue) > 0",
    for: "1h",
    severity: "page",
    summary: "A certificate has less than a quarter of its life left and was not renewed.",
    runbook: "certificate-overdue",
    firing: { series: { chom_certificates_overdue: "1x90" }, at: "70m" },
    silent: { series: { chom_certificates_overdue: "0x90" }, at: "70m" },
  },
  {
    name: "ChomServerKeyOld",
    expr: `max(chom_server_key_oldest_seconds) > ${days(97)}`,
    for: "1h",
    severity: "ticket",
    summary: "A server's key is older than 97 days.",
    runbook: "server-key-old",
    firing: { series: { chom_server_key_oldest_seconds: `${days(98)}x90` }, at: "70m" },
    silent: { series: { chom_server_key_oldest_seconds: `${days(96)}x90` }, at: "70m" },
  },
  {
    name: "ChomServerKeysOverlap",
    expr: "max(chom_servers_overlapping_keys) > 0",
    for: "5m",
    severity: "ticket",
    summary: "A server still takes a key an hour after it should have been retired.",
    runbook: "server-keys-overlap",
    firing: { series: { chom_servers_overlapping_keys: "1x20" }, at: "10m" },
    silent: { series: { chom_servers_overlapping_keys: "0x20" }, at: "10m" },
  },
  {
    name: "ChomAuditUnverified",
    expr: `time() - max(chom_audit_verified_timestamp_seconds) > ${days(1)}`,
    for: "5m",
    severity: "page",
    summary: "The audit was not found whole for 24 hours.",
    runbook: "audit-unverified",
    firing: { series: { chom_audit_verified_timestamp_seconds: "0x400" }, at: "27h", every: "1h" },
    silent: { series: { chom_audit_verified_timestamp_seconds: "0x400" }, at: "24h", every: "1h" },
  },
  {
    name: "ChomDoctorAbsent",
    expr: "time() - max by (service_name) (chom_doctor_timestamp_seconds) > 1800",
    for: "5m",
    severity: "ticket",
    summary: "The doctor has not made its round through a service for half an hour.",
    runbook: "doctor-finds",
    firing: {
      series: { 'chom_doctor_timestamp_seconds{service_name="ssl"}': "0x60" },
      at: "40m",
      labels: { service_name: "ssl" },
    },
    silent: { series: { 'chom_doctor_timestamp_seconds{service_name="ssl"}': "0x60" }, at: "30m" },
  },
  {
    name: "ChomTickOverdue",
    expr: "time() - max by (service_name, tick) (chom_tick_success_timestamp_seconds) > 60 + 2 * max by (service_name, tick) (chom_tick_period_seconds)",
    for: "1m",
    severity: "page",
    summary: "Regular work of a service is done by no replica.",
    runbook: "tick-overdue",
    firing: {
      series: {
        'chom_tick_success_timestamp_seconds{service_name="scheduler",tick="fire"}': "0x20",
        'chom_tick_period_seconds{service_name="scheduler",tick="fire"}': "1x20",
      },
      at: "5m",
      labels: { service_name: "scheduler", tick: "fire" },
    },
    // The other replica holds the lock, and does the work.
    silent: {
      series: {
        'chom_tick_success_timestamp_seconds{service_name="scheduler",tick="fire",instance="a"}':
          "0x20",
        'chom_tick_success_timestamp_seconds{service_name="scheduler",tick="fire",instance="b"}':
          "0+60x20",
        'chom_tick_period_seconds{service_name="scheduler",tick="fire",instance="a"}': "1x20",
      },
      at: "15m",
    },
  },
];
