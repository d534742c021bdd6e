/**
 * Every metric that a process of CHOM exports, by its Prometheus name (OTLP uses the same). Labels are few and their
 * values come from code: never a tenant, site, server or job.
 */

type Kind = "counter" | "histogram" | "gauge";

export type MetricRow = {
  readonly kind: Kind;
  readonly unit: string;
  readonly help: string;
  readonly labels: readonly string[];
  /** Upper bounds of a histogram's buckets. */
  readonly buckets?: readonly number[];
};

/** Waiting for a network or a disk. */
const quick = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];
/** Work on servers. */
const slow = [0.1, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 900, 3_600];

export const metricTable = {
  chom_job_duration_seconds: {
    kind: "histogram",
    unit: "s",
    help: "How long attempts at jobs took, by how they ended.",
    labels: ["family", "job", "outcome"],
    buckets: slow,
  },
  chom_job_start_delay_seconds: {
    kind: "histogram",
    unit: "s",
    help: "From when a job was due to its first start.",
    labels: ["family", "queue"],
    buckets: slow,
  },
  chom_job_wait_seconds: {
    kind: "histogram",
    unit: "s",
    help: "How long jobs waited for a lease, a limit or a slot before they started.",
    labels: ["family"],
    buckets: slow,
  },
  chom_jobs_running: {
    kind: "gauge",
    unit: "{job}",
    help: "Jobs in the hands of this process.",
    labels: ["family"],
  },
  chom_ssh_connect_seconds: {
    kind: "histogram",
    unit: "s",
    help: "TCP, key exchange and log-in of SSH connections; outcome is ok or the failure's code.",
    labels: ["outcome"],
    buckets: quick,
  },
  chom_ssh_script_seconds: {
    kind: "histogram",
    unit: "s",
    help: "Scripts on servers, from the command to their report.",
    labels: ["script", "outcome"],
    buckets: slow,
  },
  chom_acme_request_seconds: {
    kind: "histogram",
    unit: "s",
    help: "Requests to the certificate authority.",
    labels: ["operation", "outcome"],
    buckets: quick,
  },
  chom_log_append_seconds: {
    kind: "histogram",
    unit: "s",
    help: "Appends to the event log, with their repeats.",
    labels: ["stream", "outcome"],
    buckets: quick,
  },
  chom_rpc_duration_seconds: {
    kind: "histogram",
    unit: "s",
    help: "Calls that this process answered, by the failure's code or ok.",
    labels: ["method", "code"],
    buckets: quick,
  },
  chom_reactor_lag_seconds: {
    kind: "histogram",
    unit: "s",
    help: "From when an event was written to when its reactions were stored.",
    labels: ["reactor"],
    buckets: slow,
  },
  chom_reactor_pending: {
    kind: "gauge",
    unit: "{event}",
    help: "Events that a reactor has not seen to yet.",
    labels: ["reactor"],
  },
  chom_quarantined_total: {
    kind: "counter",
    unit: "{event}",
    help: "Events that a reactor gave up.",
    labels: ["reactor"],
  },
  chom_projection_lag: {
    kind: "gauge",
    unit: "{entry}",
    help: "Entries between a read model and the head of its stream.",
    labels: ["projection"],
  },
  chom_projection_behind_seconds: {
    kind: "gauge",
    unit: "s",
    help: "How long a read model has not reached what was the head of its stream then.",
    labels: ["projection"],
  },
  chom_projection_batch_seconds: {
    kind: "histogram",
    unit: "s",
    help: "Transactions that applied entries to a read model.",
    labels: ["projection"],
    buckets: quick,
  },
  chom_projection_halted: {
    kind: "gauge",
    unit: "1",
    help: "1 while a read model stands still until a person acts.",
    labels: ["projection"],
  },
  chom_tick_success_timestamp_seconds: {
    kind: "gauge",
    unit: "s",
    help: "When regular work last ended well on this replica, or when this replica started.",
    labels: ["tick"],
  },
  chom_tick_period_seconds: {
    kind: "gauge",
    unit: "s",
    help: "How often regular work is due.",
    labels: ["tick"],
  },
  chom_nats_reconnects_total: {
    kind: "counter",
    unit: "1",
    help: "Times that the connection to the broker was made anew.",
    labels: [],
  },
  chom_ready: {
    kind: "gauge",
    unit: "1",
    help: "1 while the process is ready for calls and work.",
    labels: [],
  },
  process_resident_memory_bytes: {
    kind: "gauge",
    unit: "By",
    help: "Resident memory of the process.",
    labels: [],
  },
  process_start_time_seconds: {
    kind: "gauge",
    unit: "s",
    help: "When the process started, in seconds since 1970.",
    labels: [],
  },
  nodejs_eventloop_delay_seconds: {
    kind: "gauge",
    unit: "s",
    help: "99th percentile of the event loop's delay since the last look.",
    labels: [],
  },
  chom_queue_depth: {
    kind: "gauge",
    unit: "{job}",
    help: "Jobs that have not ended, without those that wait for a person.",
    labels: ["family", "queue"],
  },
  chom_queue_oldest_ready_seconds: {
    kind: "gauge",
    unit: "s",
    help: "How long the oldest job that is due has not been started.",
    labels: ["family", "queue"],
  },
  chom_failed_jobs: {
    kind: "gauge",
    unit: "{job}",
    help: "Jobs that failed within the window of alerts (an hour by default).",
    labels: [],
  },
  chom_job_overdue_ratio: {
    kind: "gauge",
    unit: "1",
    help: "The longest of a kind of job, running or just ended, to what is expected of it.",
    labels: ["job"],
  },
  chom_rotation_failures: {
    kind: "gauge",
    unit: "{server}",
    help: "Servers whose last key rotation failed or waits for a person.",
    labels: [],
  },
  chom_quarantine_messages: {
    kind: "gauge",
    unit: "{message}",
    help: "Messages in quarantine.",
    labels: [],
  },
  chom_alerts_active: {
    kind: "gauge",
    unit: "{alert}",
    help: "Alerts of CHOM's own rules that are raised now.",
    labels: ["rule"],
  },
  chom_audit_verified_timestamp_seconds: {
    kind: "gauge",
    unit: "s",
    help: "When all chains of the audit were last found whole.",
    labels: [],
  },
  chom_doctor_findings: {
    kind: "gauge",
    unit: "{finding}",
    help: "What the doctor found on its last round.",
    labels: ["check", "severity"],
  },
  chom_doctor_timestamp_seconds: {
    kind: "gauge",
    unit: "s",
    help: "When the doctor last made its round.",
    labels: [],
  },
  chom_audit_broken_chains: {
    kind: "gauge",
    unit: "{chain}",
    help: "Chains of the audit that are broken or cannot be checked.",
    labels: [],
  },
  chom_backup_sites: {
    kind: "gauge",
    unit: "{site}",
    help: "Sites that have a recovery point.",
    labels: [],
  },
  chom_backup_sites_overdue: {
    kind: "gauge",
    unit: "{site}",
    help: "Sites without a completed recovery point within 26 hours.",
    labels: [],
  },
  chom_backup_oldest_seconds: {
    kind: "gauge",
    unit: "s",
    help: "Age of the newest completed recovery point of the site where it is oldest.",
    labels: [],
  },
  chom_restore_proof_timestamp_seconds: {
    kind: "gauge",
    unit: "s",
    help: "When a recovery point was last proven by reading it whole or by a restore; 0: never.",
    labels: [],
  },
  chom_certificates: {
    kind: "gauge",
    unit: "{certificate}",
    help: "Certificates by status.",
    labels: ["status"],
  },
  chom_certificates_overdue: {
    kind: "gauge",
    unit: "{certificate}",
    help: "Certificates with less than a quarter of their life left.",
    labels: [],
  },
  chom_certificate_life_ratio: {
    kind: "gauge",
    unit: "1",
    help: "What is left of the life of the certificate that ends first, 0 to 1.",
    labels: [],
  },
  chom_server_key_oldest_seconds: {
    kind: "gauge",
    unit: "s",
    help: "Age of the oldest active key of a server.",
    labels: [],
  },
  chom_servers_overlapping_keys: {
    kind: "gauge",
    unit: "{server}",
    help: "Servers that still have a key an hour after it should have been retired.",
    labels: [],
  },
  chom_servers: {
    kind: "gauge",
    unit: "{server}",
    help: "Servers by status.",
    labels: ["status"],
  },
  chom_signer_denials_total: {
    kind: "counter",
    unit: "1",
    help: "Log-ins that the signer refused.",
    labels: ["code"],
  },
} as const satisfies Readonly<Record<string, MetricRow>>;

export type MetricName = keyof typeof metricTable;
export type LabelsOf<Name extends MetricName> = Readonly<
  Record<(typeof metricTable)[Name]["labels"][number], string>
>;
/** The metrics of one kind. */
export type NamesOf<Wanted extends Kind> = {
  [Name in MetricName]: (typeof metricTable)[Name]["kind"] extends Wanted ? Name : never;
}[MetricName];
