/** The one table of failure codes (procedures e.11): code → kind, and whether waiting helps without spending a try. */
import type { FailureKind } from "./failure.ts";

const secondMs = 1_000;
const minuteMs = 60 * secondMs;
const hourMs = 60 * minuteMs;

export type CodePolicy = {
  kind: FailureKind;
  /**
   * The job is deferred for `delayMs`, at most `max` times in a row (default: without end), and costs no attempt.
   * After that the kind above decides.
   */
  wait?: { delayMs: number; max?: number };
};

const table: Record<string, CodePolicy> = {
  // reaching the server
  "ssh-connect-timeout": { kind: "transient" },
  "ssh-connection-refused": { kind: "transient" },
  "ssh-unreachable": { kind: "transient" },
  "ssh-connection-lost": { kind: "unknown" },
  "ssh-auth-failed": { kind: "operator" },
  "ssh-host-key-mismatch": { kind: "security" },
  "weak-crypto": { kind: "security" },
  "ssh-misbehaving": { kind: "transient" },
  "signer-unavailable": { kind: "transient", wait: { delayMs: 15 * secondMs } },
  "signer-refused": { kind: "security" },
  "sudo-denied": { kind: "operator" },
  "permission-denied": { kind: "operator" },
  // running on the server
  "step-timeout": { kind: "unknown" },
  "disk-full": { kind: "operator", wait: { delayMs: 30 * minuteMs, max: 3 } },
  "inodes-full": { kind: "operator", wait: { delayMs: 30 * minuteMs, max: 3 } },
  "quota-full": { kind: "operator", wait: { delayMs: 30 * minuteMs, max: 3 } },
  "out-of-memory": { kind: "transient" },
  "load-high": { kind: "transient", wait: { delayMs: 30 * secondMs, max: 60 } },
  "lock-busy": { kind: "transient", wait: { delayMs: 10 * secondMs, max: 180 } },
  "apt-locked": { kind: "transient", wait: { delayMs: 30 * secondMs, max: 60 } },
  "tool-missing": { kind: "operator" },
  "protocol-error": { kind: "operator" },
  "output-too-large": { kind: "permanent" },
  fenced: { kind: "permanent" },
  "lease-lost": { kind: "permanent" },
  "service-down": { kind: "transient" },
  "server-not-ready": { kind: "operator" },
  // databases on the server
  "db-locked": { kind: "transient" },
  "db-deadlock": { kind: "transient" },
  "db-too-many-connections": { kind: "transient" },
  "db-gone-away": { kind: "transient" },
  "db-auth": { kind: "operator" },
  "db-missing": { kind: "operator" },
  "db-corrupt": { kind: "permanent" },
  "dump-incomplete": { kind: "permanent" },
  "dump-failed": { kind: "permanent" },
  "not-empty": { kind: "rejected" },
  // where backups live
  "repo-unavailable": { kind: "transient" },
  "repo-throttled": { kind: "transient" },
  "repo-auth": { kind: "operator" },
  "bucket-missing": { kind: "operator" },
  "key-missing": { kind: "operator" },
  "object-exists": { kind: "permanent" },
  "object-missing": { kind: "permanent" },
  "checksum-mismatch": { kind: "permanent" },
  "manifest-invalid": { kind: "permanent" },
  "foreign-manifest": { kind: "security" },
  "archive-not-authentic": { kind: "permanent" },
  "archive-unsafe": { kind: "permanent" },
  "no-space-for-restore": { kind: "permanent" },
  "incompatible-engine": { kind: "permanent" },
  "no-safety-point": { kind: "operator" },
  "restore-verification-failed": { kind: "permanent" },
  "needs-operator": { kind: "operator" },
  // configuration and names
  "invalid-config": { kind: "permanent" },
  "address-not-allowed": { kind: "permanent" },
  "unsupported-type": { kind: "permanent" },
  "quota-exceeded": { kind: "permanent" },
  "name-taken": { kind: "permanent" },
  "port-conflict": { kind: "permanent" },
  "vhost-conflict": { kind: "permanent" },
  "nginx-test-failed": { kind: "permanent" },
  "nginx-foreign-config": { kind: "operator" },
  "fpm-test-failed": { kind: "permanent" },
  "http-check-failed": { kind: "transient" },
  // certificates
  "dns-not-pointed": { kind: "transient", wait: { delayMs: 15 * minuteMs } },
  "aaaa-wrong": { kind: "transient", wait: { delayMs: 15 * minuteMs } },
  "caa-forbids": { kind: "transient", wait: { delayMs: 15 * minuteMs } },
  "dns-unavailable": { kind: "transient", wait: { delayMs: 5 * minuteMs } },
  "proxy-detected": { kind: "transient", wait: { delayMs: 15 * minuteMs } },
  "acme-rate-limited": { kind: "transient", wait: { delayMs: hourMs } },
  "acme-server": { kind: "transient" },
  "acme-unreachable": { kind: "transient" },
  "acme-bad-nonce": { kind: "transient" },
  "acme-unauthorized": { kind: "transient", wait: { delayMs: 20 * minuteMs, max: 3 } },
  "acme-connection": { kind: "transient", wait: { delayMs: 20 * minuteMs, max: 3 } },
  "acme-dns": { kind: "transient", wait: { delayMs: 20 * minuteMs, max: 3 } },
  "acme-rejected-identifier": { kind: "permanent" },
  "acme-malformed": { kind: "permanent" },
  "acme-account": { kind: "operator" },
  "cert-mismatch": { kind: "permanent" },
  "cert-deploy-failed": { kind: "transient" },
  // key rotation
  "old-key-in-use": { kind: "transient", wait: { delayMs: hourMs } },
  "lockout-risk": { kind: "operator" },
  "old-key-still-works": { kind: "security" },
  "rotation-stopped": { kind: "permanent" },
  // jobs that start others
  "jobs-failed": { kind: "permanent" },
  "not-accepted-in-time": { kind: "permanent" },
  // the event log
  "log-unavailable": { kind: "transient" },
  "log-forbidden": { kind: "operator" },
  "entry-too-large": { kind: "permanent" },
  "entry-undecodable": { kind: "permanent" },
  "newer-history": { kind: "operator", wait: { delayMs: minuteMs } },
  "foreign-producer": { kind: "security" },
  "topology-mismatch": { kind: "operator" },
  "checkpoint-mismatch": { kind: "operator" },
  "rebuild-running": { kind: "conflict" },
  "rebuild-incomplete": { kind: "operator" },
  "not-mendable": { kind: "rejected" },
  // calling and starting services
  "invalid-request": { kind: "invalid" },
  unauthenticated: { kind: "security" },
  "not-permitted": { kind: "security" },
  "deadline-exceeded": { kind: "transient" },
  "call-cancelled": { kind: "transient" },
  "service-unavailable": { kind: "transient" },
  "too-many-requests": { kind: "transient" },
  "read-model-behind": { kind: "transient" },
  "already-exists": { kind: "conflict" },
  "chain-ended": { kind: "rejected" },
  "batch-ended": { kind: "rejected" },
  "seal-broken": { kind: "permanent" },
  "tenant-key-unavailable": { kind: "transient", wait: { delayMs: 15 * secondMs } },
  "tenant-erased": { kind: "permanent" },
  "root-unavailable": { kind: "transient", wait: { delayMs: 15 * secondMs } },
  "root-forbidden": { kind: "operator" },
  "weak-root-key": { kind: "operator" },
  "key-file-invalid": { kind: "operator" },
  "key-file-exposed": { kind: "operator" },
  "bad-settings": { kind: "operator" },
  "schema-behind": { kind: "operator" },
  // the engine itself
  "worker-lost": { kind: "permanent" },
  "attempt-timeout": { kind: "transient" },
  "secret-in-result": { kind: "permanent" },
  "result-too-large": { kind: "permanent" },
  unexpected: { kind: "transient" },
};

/** The policy of a code, or undefined when the table does not know it. */
export const policyOf = (code: string): CodePolicy | undefined =>
  Object.hasOwn(table, code) ? table[code] : undefined;

/** Every documented code, for docs and tests. */
export const codes: readonly string[] = Object.keys(table);
