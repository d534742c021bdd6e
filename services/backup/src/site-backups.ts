/** One row a site: when it was last backed up, verified and restored; and the answer that is made of them. */
import type {
  BackupAgeBucket,
  GetBackupOverviewRequest,
  GetBackupOverviewResponse,
} from "@chom/proto/chom/backup/v1/backup";
import type { Transaction } from "@chom/shared/projection/database";
import { type ProjectedMeta, projection } from "@chom/shared/projection/projection";
import { fieldsOf } from "@chom/shared/rpc/fields";
import type { Caller } from "@chom/shared/rpc/unary";
import type { App } from "@chom/shared/service/app";
import { and, asc, count, desc, eq, isNotNull, isNull, type SQL, sql } from "drizzle-orm";
import { happened } from "./backups.ts";
import { siteFacts } from "./site-facts.ts";
import { siteBackups } from "./tables.ts";

type Change = Partial<typeof siteBackups.$inferInsert>;

const note = (siteId: string, change: Change, { tenant }: ProjectedMeta, tx: Transaction) =>
  tx
    .insert(siteBackups)
    .values({ tenant, siteId, ...change })
    .onConflictDoUpdate({ target: [siteBackups.tenant, siteBackups.siteId], set: change });

/** Facts of backups; a site's aggregate of backups has the site's id. */
export const siteBackupList = projection({
  name: "site-backups",
  source: { stream: "EVENTS", aggregate: "backups" },
  rebuild: { tables: [siteBackups] },
  from: happened,
  on: {
    BackupCompleted: (_, meta, tx) => note(meta.id, { lastCompletedAt: meta.time }, meta, tx),
    BackupVerified: (_, meta, tx) => note(meta.id, { lastVerifiedAt: meta.time }, meta, tx),
    RestoreCompleted: (_, meta, tx) => note(meta.id, { lastRestoredAt: meta.time }, meta, tx),
    BackupFailed: ({ code: lastFailureCode }, meta, tx) =>
      note(meta.id, { lastFailedAt: meta.time, lastFailureCode }, meta, tx),
  },
});

/** A site that is there needs backups; one that is gone does not. Touches other columns than the one above. */
export const presentSites = projection({
  name: "site-backups-sites",
  source: { stream: "EVENTS", aggregate: "site" },
  rebuild: { tables: [siteBackups] },
  from: siteFacts.events,
  on: {
    SiteProvisioned: (_, meta, tx) => note(meta.id, { removed: false }, meta, tx),
    SiteDeprovisioned: (_, meta, tx) => note(meta.id, { removed: true }, meta, tx),
  },
});

const bounds = [24, 48, 168] as const;
const oldestMax = 20;

const { lastCompletedAt, lastVerifiedAt, lastRestoredAt, removed } = siteBackups;

const newest = (app: App, tenant: string, column: typeof lastVerifiedAt | typeof lastRestoredAt) =>
  app.db
    .select({ siteId: siteBackups.siteId, at: column })
    .from(siteBackups)
    .where(and(eq(siteBackups.tenant, tenant), isNotNull(column)))
    .orderBy(desc(column))
    .limit(1);

/** The bucket of a row by its age: 0 is the youngest, `bounds.length` holds all the others. */
const bucketAt = (now: Date): SQL<number> => {
  const age = sql`extract(epoch from ${now.toISOString()}::timestamptz - ${lastCompletedAt})`;
  const cases = bounds.map((hours, at) => sql`when ${age} < ${hours * 3_600} then ${at}::int`);
  return sql<number>`case ${sql.join(cases, sql` `)} else ${bounds.length}::int end`;
};

/** Answers GetBackupOverview. */
export async function backupOverview(
  app: App,
  request: GetBackupOverviewRequest,
  { tenant }: Caller,
): Promise<GetBackupOverviewResponse> {
  const fields = fieldsOf(request);
  const position = fields.position();
  fields.done();
  await app.seen(siteBackupList.name, position);
  const mine = and(eq(siteBackups.tenant, tenant), eq(removed, false));
  const bucket = bucketAt(app.now());
  const [counts, without, oldest, [verified], [restored]] = await Promise.all([
    app.db
      .select({ bucket: bucket.as("bucket"), sites: count() })
      .from(siteBackups)
      .where(and(mine, isNotNull(lastCompletedAt)))
      .groupBy(sql`bucket`),
    app.db
      .select({ sites: count() })
      .from(siteBackups)
      .where(and(mine, isNull(lastCompletedAt))),
    app.db
      .select()
      .from(siteBackups)
      .where(mine)
      .orderBy(sql`${lastCompletedAt} asc nulls first`, asc(siteBackups.siteId))
      .limit(oldestMax),
    newest(app, tenant, lastVerifiedAt),
    newest(app, tenant, lastRestoredAt),
  ]);
  const buckets = [...bounds, undefined].map((belowHours, at): BackupAgeBucket => {
    const sites = counts.find((row) => row.bucket === at)?.sites ?? 0;
    return { ...(belowHours === undefined ? {} : { belowHours }), sites: BigInt(sites) };
  });
  return {
    buckets,
    without: BigInt(without[0]?.sites ?? 0),
    oldest: oldest.map((row) => ({
      ...{ siteId: row.siteId, lastFailureCode: row.lastFailureCode },
      lastCompletedAt: row.lastCompletedAt ?? undefined,
      lastVerifiedAt: row.lastVerifiedAt ?? undefined,
      lastRestoredAt: row.lastRestoredAt ?? undefined,
      lastFailedAt: row.lastFailedAt ?? undefined,
    })),
    lastVerifiedAt: verified?.at ?? undefined,
    lastVerifiedSiteId: verified?.siteId ?? "",
    lastRestoredAt: restored?.at ?? undefined,
    lastRestoredSiteId: restored?.siteId ?? "",
  };
}
