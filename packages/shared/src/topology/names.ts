/** The words of the topology: who exists, and who owns which kind of aggregate. */
import type { Queue } from "../job/job.ts";

/** Job families; each is a service that writes its own journals and works its own queue. */
export const families = ["backup", "provisioning", "ssl", "credentials"] as const;
export type Family = (typeof families)[number];

/**
 * Everything that logs in to the broker as itself. `pruner` only removes archived journals; `archivist` only writes
 * back events that the log has lost, and no service has its seed.
 */
export const users = [
  ...families,
  "scheduler",
  "dashboard",
  "operator",
  "pruner",
  "archivist",
  "topology",
] as const;
export type User = (typeof users)[number];

/** In the order in which a worker asks for work. */
export const queues: readonly Queue[] = ["high", "default", "low"];

/** Which service writes the events of which kinds of aggregate. */
export const aggregatesOf: Readonly<Partial<Record<User, readonly string[]>>> = {
  backup: ["backups", "database-backup", "backup-cleaning", "job-refusal"],
  provisioning: ["site", "domain", "job-refusal"],
  ssl: ["certificate", "job-refusal"],
  credentials: ["server", "key-rotations", "api-token", "tenant-keys", "job-refusal"],
  scheduler: [
    "job-control",
    "job-request",
    "schedule",
    "schedule-ticks",
    "chain",
    "batch",
    "alert",
    "queue",
  ],
};

/** True for the name of a job family. */
export const isFamily = (name: string): name is Family =>
  (families as readonly string[]).includes(name);

/** Prefix of the inboxes a user may listen on; nobody can listen to the answers given to others. */
export const inboxPrefix = (user: User): string => `_INBOX_${user}`;
