/** The dashboards. */
import { type Dashboard, lines, percentiles, stat } from "./panels.ts";

const ended = 'chom_job_duration_seconds_count{outcome=~"completed|skipped|failed|parked"}';
const good = 'chom_job_duration_seconds_count{outcome=~"completed|skipped"}';
const rate = (series: string, by: string) => `sum by (${by}) (rate(${series}[$__rate_interval]))`;

const overview: Dashboard = {
  name: "overview",
  title: "overview",
  panels: [
    stat("Services ready", "sum(max by (service_name) (chom_ready))"),
    stat("Alerts of CHOM", "sum(max by (rule) (chom_alerts_active)) or vector(0)"),
    stat("Failed jobs, last hour", "max(chom_failed_jobs)"),
    stat("Jobs waiting", "sum(max by (family, queue) (chom_queue_depth)) or vector(0)"),
    stat(
      "Jobs that end well",
      `sum(increase(${good}[1h])) / sum(increase(${ended}[1h]))`,
      "percentunit",
    ),
    stat("Oldest backup", "max(chom_backup_oldest_seconds)", "s"),
    stat("Least life of a certificate", "min(chom_certificate_life_ratio)", "percentunit"),
    stat("Oldest server key", "max(chom_server_key_oldest_seconds)", "s"),
    lines("Jobs ended a second", "short", [rate(ended, "family"), "{{family}}"]),
    lines("Jobs waiting", "short", [
      "max by (family, queue) (chom_queue_depth)",
      "{{family}} {{queue}}",
    ]),
    lines("Failures", "percentunit", ["chom:job_failure_ratio:rate5m", "{{family}}"]),
    lines("Calls a second", "short", [
      rate("chom_rpc_duration_seconds_count", "service_name"),
      "{{service_name}}",
    ]),
  ],
};

const queues: Dashboard = {
  name: "queues-and-jobs",
  title: "queues and jobs",
  panels: [
    lines("Depth", "short", ["max by (family, queue) (chom_queue_depth)", "{{family}} {{queue}}"]),
    lines("Oldest job that is due", "s", [
      "max by (family, queue) (chom_queue_oldest_ready_seconds)",
      "{{family}} {{queue}}",
    ]),
    percentiles("Processing time", "chom_job_duration_seconds", "job"),
    percentiles("From due to started", "chom_job_start_delay_seconds", "queue"),
    lines("Attempts by how they ended", "short", [
      rate("chom_job_duration_seconds_count", "outcome"),
      "{{outcome}}",
    ]),
    percentiles("Waiting for leases, limits and slots", "chom_job_wait_seconds", "family"),
    lines("Longest to what is expected", "short", [
      "max by (job) (chom_job_overdue_ratio)",
      "{{job}}",
    ]),
    lines("Failures of the month's budget", "percentunit", [
      "chom:job_failure_ratio:rate6h",
      "{{family}}",
    ]),
  ],
};

const workers: Dashboard = {
  name: "workers",
  title: "workers",
  panels: [
    lines("Jobs in hand", "short", ["chom_jobs_running", "{{instance}}"]),
    lines("Memory", "bytes", ["process_resident_memory_bytes", "{{service_name}} {{instance}}"]),
    lines("Delay of the event loop (p99)", "s", [
      "nodejs_eventloop_delay_seconds",
      "{{service_name}} {{instance}}",
    ]),
    lines("Up since", "s", [
      "time() - process_start_time_seconds",
      "{{service_name}} {{instance}}",
    ]),
    lines("Ready", "short", ["chom_ready", "{{service_name}} {{instance}}"]),
    lines("Connections to the broker made anew", "short", [
      "increase(chom_nats_reconnects_total[$__rate_interval])",
      "{{service_name}}",
    ]),
  ],
};

const backups: Dashboard = {
  name: "backups",
  title: "backups",
  panels: [
    stat("Sites with a backup", "max(chom_backup_sites)"),
    stat("Sites overdue", "max(chom_backup_sites_overdue)"),
    stat("Oldest newest backup", "max(chom_backup_oldest_seconds)", "s"),
    stat("Since the last proof", "time() - max(chom_restore_proof_timestamp_seconds)", "s"),
    lines("Jobs of backups by how they ended", "short", [
      rate('chom_job_duration_seconds_count{family="backup"}', "job, outcome"),
      "{{job}} {{outcome}}",
    ]),
    percentiles("How long they take", "chom_job_duration_seconds", "job"),
  ],
};

const certificates: Dashboard = {
  name: "certificates",
  title: "certificates",
  panels: [
    stat("Certificates", "sum(max by (status) (chom_certificates))"),
    stat("Overdue for renewal", "max(chom_certificates_overdue)"),
    stat("Least life left", "min(chom_certificate_life_ratio)", "percentunit"),
    lines("By status", "short", ["max by (status) (chom_certificates)", "{{status}}"]),
    percentiles("Requests to the CA", "chom_acme_request_seconds", "operation"),
    lines("Answers of the CA", "short", [
      rate("chom_acme_request_seconds_count", "operation, outcome"),
      "{{operation}} {{outcome}}",
    ]),
  ],
};

const ssh: Dashboard = {
  name: "ssh-and-keys",
  title: "SSH and keys",
  panels: [
    stat("Oldest server key", "max(chom_server_key_oldest_seconds)", "s"),
    stat("Servers with a key too many", "max(chom_servers_overlapping_keys)"),
    stat("Rotations that failed", "max(chom_rotation_failures)"),
    stat("Refusals of the signer, last hour", "sum(increase(chom_signer_denials_total[1h]))"),
    lines("Servers by status", "short", ["max by (status) (chom_servers)", "{{status}}"]),
    percentiles("Connecting", "chom_ssh_connect_seconds", "outcome"),
    percentiles("Scripts", "chom_ssh_script_seconds", "script"),
    lines("Scripts that failed", "short", [
      rate('chom_ssh_script_seconds_count{outcome!="ok"}', "script, outcome"),
      "{{script}} {{outcome}}",
    ]),
  ],
};

const log: Dashboard = {
  name: "log-and-projections",
  title: "event log and read models",
  panels: [
    stat("Quarantine", "max(chom_quarantine_messages)"),
    stat(
      "Read models that stand still",
      "sum(max by (service_name, projection) (chom_projection_halted))",
    ),
    stat("Audit found whole", "time() - max(chom_audit_verified_timestamp_seconds)", "s"),
    stat("Broken chains of the audit", "max(chom_audit_broken_chains)"),
    percentiles("Appends", "chom_log_append_seconds", "stream"),
    lines("Appends that failed", "short", [
      rate('chom_log_append_seconds_count{outcome!="ok"}', "stream, outcome"),
      "{{stream}} {{outcome}}",
    ]),
    lines("Read models behind, in entries", "short", [
      "min by (service_name, projection) (chom_projection_lag)",
      "{{service_name}} {{projection}}",
    ]),
    lines("Read models behind, in time", "s", [
      "min by (service_name, projection) (chom_projection_behind_seconds)",
      "{{service_name}} {{projection}}",
    ]),
    percentiles("Transactions of read models", "chom_projection_batch_seconds", "projection"),
    lines("Events before reactors", "short", [
      "min by (service_name, reactor) (chom_reactor_pending)",
      "{{service_name}} {{reactor}}",
    ]),
    percentiles("From event to reaction", "chom_reactor_lag_seconds", "reactor"),
    lines("Events given up", "short", [
      "increase(chom_quarantined_total[$__rate_interval])",
      "{{reactor}}",
    ]),
    lines("Since regular work ended well", "s", [
      "time() - max by (service_name, tick) (chom_tick_success_timestamp_seconds)",
      "{{service_name}} {{tick}}",
    ]),
  ],
};

export const dashboards: readonly Dashboard[] = [
  overview,
  queues,
  workers,
  backups,
  certificates,
  ssh,
  log,
];
