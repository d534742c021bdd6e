/** The alerts that the program replaced by CHOM had: failures, depth, time, memory, rotation. */
import type { Alert } from "./alert.ts";

const megabyte = 1_048_576;
const depth = (size: number) => ({
  'chom_queue_depth{family="backup",queue="default"}': `${size}x30`,
});
const memory = (size: number) => ({
  'process_resident_memory_bytes{service_name="backup",instance="a"}': `${size * megabyte}x30`,
});
const queue = { family: "backup", queue: "default" };

export const specAlerts: readonly Alert[] = [
  {
    name: "ChomFailedJobs",
    expr: "max(chom_failed_jobs) > 10",
    for: "1m",
    severity: "page",
    summary: "More than 10 jobs failed within the window of alerts.",
    runbook: "failed-jobs",
    firing: { series: { chom_failed_jobs: "11x10" }, at: "5m" },
    silent: { series: { chom_failed_jobs: "10x10" }, at: "5m" },
  },
  {
    name: "ChomQueueDepth",
    expr: "max by (family, queue) (chom_queue_depth) > 1000",
    for: "10m",
    severity: "page",
    summary: "A queue has held more than 1,000 jobs for ten minutes.",
    runbook: "queue-depth",
    firing: { series: depth(1_001), at: "15m", labels: queue },
    silent: { series: depth(1_000), at: "25m" },
  },
  {
    name: "ChomQueueFilling",
    expr: "max by (family, queue) (chom_queue_depth) > 100",
    for: "10m",
    severity: "ticket",
    summary: "A queue has held more than 100 jobs for ten minutes.",
    runbook: "queue-depth",
    firing: { series: depth(101), at: "15m", labels: queue },
    silent: { series: depth(100), at: "25m" },
  },
  {
    name: "ChomJobProcessingTime",
    expr: "max by (job) (chom_job_overdue_ratio) > 2",
    for: "2m",
    severity: "ticket",
    summary: "A kind of job takes more than twice the time that is expected of it.",
    runbook: "job-processing-time",
    firing: {
      series: { 'chom_job_overdue_ratio{job="backup.create"}': "2.1x10" },
      at: "5m",
      labels: { job: "backup.create" },
    },
    silent: { series: { 'chom_job_overdue_ratio{job="backup.create"}': "2x10" }, at: "5m" },
  },
  {
    name: "ChomWorkerMemory",
    expr: `process_resident_memory_bytes{service_name!=""} > ${256 * megabyte}`,
    for: "5m",
    severity: "ticket",
    summary: "A process of CHOM holds more than 256 MB.",
    runbook: "worker-memory",
    firing: {
      series: memory(257),
      at: "10m",
      labels: { service_name: "backup", instance: "a" },
    },
    silent: { series: memory(256), at: "10m" },
  },
  {
    name: "ChomKeyRotationFailed",
    expr: "max(chom_rotation_failures) > 0",
    for: "0m",
    severity: "page",
    summary: "The keys of a server could not be rotated.",
    runbook: "key-rotation-failed",
    firing: { series: { chom_rotation_failures: "0x3 1x5" }, at: "5m" },
    silent: { series: { chom_rotation_failures: "0x10" }, at: "5m" },
  },
];
