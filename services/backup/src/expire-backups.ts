/** `backup.expire`: applies retention to one site's points. A point is let go in the log first, and only then in the vault. */
import { ExpireBackupsInput } from "@chom/proto/chom/backup/v1/events";
import { job } from "@chom/shared/job/job";
import { type Backups, backups, isInUse } from "./backups.ts";
import type { PointDeps } from "./read-point.ts";
import {
  decideRetention,
  failuresThatStop,
  type RetentionRules,
  type Verdict,
} from "./retention.ts";
import type { Vault } from "./vault.ts";

export const expireBackups = (deps: PointDeps & { rules: RetentionRules }) =>
  job(backups, {
    name: "backup.expire",
    input: ExpireBackupsInput,
    of: ({ siteId }) => siteId,
    site: ({ siteId }) => siteId,
    done: "endExpiry",
    failed: "noteNothing",
    cancelled: "noteNothing",
    queue: "low",
    tries: 3,
    timeoutMs: 3_600_000,
    backoffMs: [120_000],
    exclusive: ({ siteId }) => [`site.${siteId}`],

    async work({ siteId, now }, run) {
      const due = await run.step("decide", async () => {
        const { state } = await deps.load(backups, run.tenant, siteId);
        return dueIn(state, deps.rules, now ?? run.now());
      });
      for (const { backupId } of due) {
        const input = { backupId, rule: "retention", siteId, jobId: run.id };
        await run.record(`let go of ${backupId}`, "expire", input);
      }
      await run.step("clear the vault", async () => {
        // Decided anew from the log: also what earlier runs let go of and could not delete.
        const { state } = await deps.load(backups, run.tenant, siteId);
        await clearVault(deps.vault, `${run.tenant}/${siteId}/`, state);
      });
      return { expired: due.length };
    },
  });

/** The points that no rule keeps. None while backups fail, and none that a restore reads. */
export const dueIn = (state: Backups, rules: RetentionRules, now: Date): { backupId: string }[] =>
  siteVerdicts(state, rules, now)
    .filter(({ isKept }) => !isKept)
    .map(({ backupId }) => ({ backupId }));

/** What retention says of every point of a site that is there, newest first. */
export function siteVerdicts(state: Backups, rules: RetentionRules, now: Date): readonly Verdict[] {
  const points = Object.values(state.points)
    .filter(({ status }) => status === "available" || status === "verified")
    .map((point) => ({
      backupId: point.backupId,
      kind: point.kind as string,
      takenAt: point.createdAt,
      isVerified: point.status === "verified",
      isSafetyPoint: point.isSafetyPoint,
      isSuspicious: point.isSuspicious,
      keepUntil: point.keepUntil,
    }));
  const isFailing = state.failuresInARow >= failuresThatStop;
  return decideRetention(points, rules, now).map((verdict) => {
    if (verdict.isKept) return verdict;
    if (isFailing) return { ...verdict, isKept: true, rule: "failing" };
    if (isInUse(state, verdict.backupId)) return { ...verdict, isKept: true, rule: "in-use" };
    return verdict;
  });
}

/** Deletes only what the log knows as let go or failed: a listing alone decides nothing. */
async function clearVault(vault: Vault, folder: string, state: Backups): Promise<void> {
  for (const { key } of await vault.list(folder)) {
    const backupId = key.slice(folder.length).split("/")[0] ?? "";
    const status = state.points[backupId]?.status;
    if (status === "expired" || status === "failed") await vault.delete(key);
  }
}
