/**
 * `backup.clean`: applies retention to every site of a tenant, for the platform to those of all tenants and to its own
 * databases. Each is done by an expiry of its own, under that site's lease; this job starts them, waits and adds up.
 */
import { CleanBackupsInput } from "@chom/proto/chom/backup/v1/database_events";
import { hashId } from "@chom/shared/aggregate/id";
import { failureOf } from "@chom/shared/failure/failure";
import { endsOf, nextLook } from "@chom/shared/job/fan-out";
import { job } from "@chom/shared/job/job";
import type { Run } from "@chom/shared/job/run";
import type { App } from "@chom/shared/service/app";
import type { expireDatabaseBackups } from "../database/expire-database.ts";
import type { expireBackups } from "../expire-backups.ts";
import type { RetentionRules } from "../retention.ts";
import { cleanings, cleaningsId } from "./cleanings.ts";
import { letGoBy, type Target, targetsOf, verdictsOf } from "./plan-clean.ts";

export type CleanParts = {
  readonly app: Pick<App, "db" | "load" | "log" | "sealer" | "dispatch">;
  readonly rules: RetentionRules;
  readonly sources: readonly string[];
  readonly expire: ReturnType<typeof expireBackups>;
  readonly expireDatabase: ReturnType<typeof expireDatabaseBackups>;
};

type Started = Target & { jobId: string };
type CleanRun = Run<typeof cleanings>;
/** So many are decided on at once; what a step remembers of them stays far below its limit. */
const pageSize = 200;

export const cleanBackups = (parts: CleanParts) =>
  job(cleanings, {
    name: "backup.clean",
    input: CleanBackupsInput,
    of: () => cleaningsId,
    done: "end",
    failed: "noteNothing",
    cancelled: "noteNothing",
    queue: "default",
    tries: 3,
    timeoutMs: 3_600_000,
    backoffMs: [120_000],
    exclusive: () => [`cleaning.${cleaningsId}`],

    async work(input, run) {
      const now = await run.step("begin", async () => input.now ?? run.now());
      const started = await startAll(parts, run, now);
      const ends = await endsOf(parts.app, "backup", started);
      const open = ends.filter(({ end }) => end === "open").length;
      const failed = ends.filter(({ end }) => end === "failed");
      const all = started.length;
      run.progress(
        all === 0 ? 100 : Math.round((100 * (all - open)) / all),
        `${all - open} of ${all} cleaned`,
      );
      if (open > 0) {
        const reason = `${open} of ${all} sites and databases are being cleaned`;
        return run.defer(nextLook(now, run.now()), reason, "waiting-for-jobs");
      }
      let [deleted, freedBytes] = [0, 0];
      for (const each of started) {
        const gone = await letGoBy(parts, each, each.jobId);
        deleted += gone.deleted;
        freedBytes += gone.freedBytes;
      }
      await run.record("report", "report", {
        ...{ targets: all, failed: failed.length, jobId: run.id },
        ...{ deleted: BigInt(deleted), freedBytes: BigInt(freedBytes) },
      });
      if (failed.length === 0) return { deleted };
      const first = failed[0];
      const why = `${first?.code}: ${first?.message}`;
      throw failureOf("jobs-failed", `${failed.length} of ${all} cleanings failed, first: ${why}`);
    },
  });

/** An expiry for everything from which something is to go. Page by page, each remembered with the jobs it started. */
async function startAll(parts: CleanParts, run: CleanRun, now: Date): Promise<Started[]> {
  const started: Started[] = [];
  let after: Target | undefined;
  for (let page = 1; ; page += 1) {
    const made = await run.step(`start page ${page}`, () => startPage(parts, run, { now, after }));
    started.push(...made.started);
    after = made.last ?? undefined;
    if (!after) return started;
  }
}

async function startPage(
  parts: CleanParts,
  run: CleanRun,
  { now, after }: { now: Date; after: Target | undefined },
): Promise<{ started: Started[]; last: Target | null }> {
  const targets = await targetsOf(parts, run.tenant, { after, limit: pageSize });
  const started: Started[] = [];
  for (const target of targets) {
    const { tenant, siteId, source } = target;
    if (!(await verdictsOf(parts, target, now)).some(({ kept }) => !kept)) continue;
    const jobId = hashId("backup.clean", run.id, run.generation, tenant, siteId, source);
    const cause = { tenant, actor: run.actor, causationId: run.id, jobId };
    await parts.app.dispatch(
      source === ""
        ? { ...cause, job: parts.expire, input: { siteId, now } }
        : { ...cause, job: parts.expireDatabase, input: { source, now } },
    );
    started.push({ ...target, jobId });
  }
  return { started, last: targets.length === pageSize ? (targets.at(-1) ?? null) : null };
}
