/** `backup.create`: one recovery point of a site, streamed from its server into the vault. */
import { CreateBackupInput } from "@chom/proto/chom/backup/v1/events";
import { job } from "@chom/shared/job/job";
import { backups } from "./backups.ts";
import { type BackupDeps, takeBackup } from "./take-backup.ts";

const unknownSizeMs = 3_600_000;
const leastMs = 120_000;
/** The slowest line that is put up with: 2 MB a second. */
const bytesPerMs = 2_000;

/** Time for one attempt at moving so many bytes: 120 s and more with size; an hour when nobody knows it yet. */
export const timeoutFor = (estimatedBytes: bigint): number =>
  estimatedBytes === 0n
    ? unknownSizeMs
    : Math.min(leastMs + Math.ceil(Number(estimatedBytes) / bytesPerMs), 24 * unknownSizeMs);

export const createBackup = (deps: BackupDeps) =>
  job(backups, {
    name: "backup.create",
    input: CreateBackupInput,
    of: ({ siteId }) => siteId,
    site: ({ siteId }) => siteId,
    server: ({ serverId }) => serverId,
    started: "begin",
    done: "complete",
    failed: "fail",
    cancelled: "abandon",
    queue: "default",
    tries: 3,
    timeoutMs: ({ estimatedBytes }) => timeoutFor(estimatedBytes),
    backoffMs: [120_000],
    exclusive: ({ siteId }) => [`site.${siteId}`],
    circuit: ({ serverId }) => serverId,
    work: (input, run) => takeBackup(run, deps, input),
  });
