/** Once a day every site with more points than the daily rule keeps gets a `backup.expire`; broken uploads are swept. */
import { BackupStatus } from "@chom/proto/chom/backup/v1/backup";
import { hashId } from "@chom/shared/aggregate/id";
import type { App, Tick } from "@chom/shared/service/app";
import { count, inArray } from "drizzle-orm";
import type { expireBackups } from "./expire-backups.ts";
import type { RetentionRules } from "./retention.ts";
import { points } from "./tables.ts";
import type { Vault } from "./vault.ts";

const hourMs = 3_600_000;
/** An upload that is older belongs to nobody: no attempt lasts as long. */
const abandonedMs = 48 * hourMs;

/** The job's id comes from the day, so that any number of replicas and restarts ask once. */
export const retentionSweep = (
  app: App,
  expire: ReturnType<typeof expireBackups>,
  { vault, rules }: { vault: Vault; rules: RetentionRules },
): Tick => ({
  name: "retention",
  everyMs: hourMs,
  async run(signal) {
    const now = app.now();
    const day = now.toISOString().slice(0, 10);
    const sites = await app.db
      .select({ tenant: points.tenant, siteId: points.siteId, held: count() })
      .from(points)
      .where(inArray(points.status, [BackupStatus.AVAILABLE, BackupStatus.VERIFIED]))
      .groupBy(points.tenant, points.siteId);
    for (const { tenant, siteId, held } of sites) {
      if (signal.aborted) return;
      if (held <= rules.daily) continue;
      await app.dispatch({
        job: expire,
        jobId: hashId("expire", tenant, siteId, day),
        input: { siteId, now: new Date(day) },
        tenant,
        actor: "retention",
      });
    }
    await vault.sweep(new Date(now.getTime() - abandonedMs));
  },
});
