/** `backup.expire-database`: applies retention to the backups of one source; out of the log first, then out of the vault. */
import { ExpireDatabaseBackupsInput } from "@chom/proto/chom/backup/v1/database_events";
import { job } from "@chom/shared/job/job";
import {
  decideRetention,
  failuresThatStop,
  type RetentionRules,
  type Verdict,
} from "../retention.ts";
import { type DatabaseBackups, databaseBackups, isReadable, platform } from "./database-backups.ts";
import { type DatabaseDeps, folderOf } from "./database-deps.ts";

export const expireDatabaseBackups = (deps: DatabaseDeps & { rules: RetentionRules }) =>
  job(databaseBackups, {
    name: "backup.expire-database",
    input: ExpireDatabaseBackupsInput,
    of: ({ source }) => source,
    done: "endExpiry",
    failed: "noteNothing",
    cancelled: "noteNothing",
    queue: "low",
    tries: 3,
    timeoutMs: 3_600_000,
    backoffMs: [120_000],
    exclusive: ({ source }) => [`database.${source}`],

    async work({ source, now }, run) {
      const due = await run.step("decide", async () => {
        const { state } = await deps.load(databaseBackups, platform, source);
        return databaseVerdicts(state, deps.rules, now ?? run.now())
          .filter(({ isKept }) => !isKept)
          .map(({ backupId }) => backupId);
      });
      for (const backupId of due) {
        const input = { backupId, rule: "retention", source, jobId: run.id };
        await run.record(`let go of ${backupId}`, "expire", input);
      }
      await run.step("clear the vault", async () => {
        const { state } = await deps.load(databaseBackups, platform, source);
        await clear(deps, source, state);
      });
      return { expired: due.length };
    },
  });

/** What retention says of every backup that is there. None goes while backups fail. */
export function databaseVerdicts(
  state: DatabaseBackups,
  rules: RetentionRules,
  now: Date,
): readonly Verdict[] {
  const points = Object.values(state.points)
    .filter(isReadable)
    .map(({ backupId, engine, createdAt, status }) => ({
      ...{ backupId, kind: engine, takenAt: createdAt, isVerified: status === "tested" },
      ...{ isSafetyPoint: false, isSuspicious: false },
    }));
  const verdicts = decideRetention(points, rules, now);
  if (state.failuresInARow < failuresThatStop) return verdicts;
  return verdicts.map((verdict) =>
    verdict.isKept ? verdict : { ...verdict, isKept: true, rule: "failing" },
  );
}

/** Deletes only what the log knows as let go or failed: a listing alone decides nothing. */
async function clear(
  { vault, local }: DatabaseDeps,
  source: string,
  state: DatabaseBackups,
): Promise<void> {
  const folder = folderOf(source);
  for (const at of local ? [vault, local] : [vault]) {
    for (const { key } of await at.list(folder)) {
      const status = state.points[key.slice(folder.length).split("/")[0] ?? ""]?.status;
      if (status === "expired" || status === "failed") await at.delete(key);
    }
  }
}
