/** What cleaning would do: every site and database source in its reach, and what retention says of their backups. */
import { BackupKind, BackupStatus } from "@chom/proto/chom/backup/v1/backup";
import type { CleanVerdict } from "@chom/proto/chom/backup/v1/retention";
import type { App } from "@chom/shared/service/app";
import { and, asc, eq, gt, inArray, or } from "drizzle-orm";
import { backups } from "../backups.ts";
import { databaseBackups, platform } from "../database/database-backups.ts";
import { databaseVerdicts } from "../database/expire-database.ts";
import { siteVerdicts } from "../expire-backups.ts";
import type { RetentionRules } from "../retention.ts";
import { points } from "../tables.ts";

/** A site, or a source of database backups: one of the two ids is empty. */
export type Target = { tenant: string; siteId: string; source: string };

type Reach = {
  readonly app: Pick<App, "db" | "load">;
  readonly rules: RetentionRules;
  readonly sources: readonly string[];
};

const kindNames: Readonly<Record<string, string>> = {
  [BackupKind.FULL]: "full",
  [BackupKind.FILES]: "files",
  [BackupKind.DATABASE]: "database",
};
/** Failed ones are no backups, but may have left objects in the vault. */
const thereOrFailed = [BackupStatus.AVAILABLE, BackupStatus.VERIFIED, BackupStatus.FAILED];

/**
 * A page of what a tenant's cleaning looks at, sites by tenant and id; the platform's goes over all tenants, and its
 * first page begins with the database sources. `after` is the last target of the page before.
 */
export async function targetsOf(
  { app, sources }: Reach,
  tenant: string,
  { after, limit }: { after?: Target | undefined; limit: number },
): Promise<readonly Target[]> {
  const isPlatform = tenant === platform;
  const own = isPlatform
    ? sources.toSorted().map((source) => ({ tenant, siteId: "", source }))
    : [];
  const from =
    after === undefined
      ? 0
      : after.source === ""
        ? own.length
        : own.findIndex((each) => each.source === after.source) + 1;
  const first = own.slice(from, from + limit);
  if (first.length === limit) return first;
  const behind =
    after && after.siteId !== ""
      ? or(
          gt(points.tenant, after.tenant),
          and(eq(points.tenant, after.tenant), gt(points.siteId, after.siteId)),
        )
      : undefined;
  const sites = await app.db
    .selectDistinct({ tenant: points.tenant, siteId: points.siteId })
    .from(points)
    .where(
      and(
        inArray(points.status, thereOrFailed),
        isPlatform ? undefined : eq(points.tenant, tenant),
        behind,
      ),
    )
    .orderBy(asc(points.tenant), asc(points.siteId))
    .limit(limit - first.length);
  return [...first, ...sites.map((site) => ({ ...site, source: "" }))];
}

/** What retention says now of every backup of a target, newest first. */
export async function verdictsOf(
  { app, rules }: Reach,
  target: Target,
  now: Date,
): Promise<CleanVerdict[]> {
  const { tenant, siteId, source } = target;
  if (source !== "") {
    const { state } = await app.load(databaseBackups, platform, source);
    return databaseVerdicts(state, rules, now).flatMap(({ backupId, isKept, rule }) => {
      const point = state.points[backupId];
      if (!point) return [];
      const { createdAt, engine: kind } = point;
      const storedBytes = BigInt(point.storedBytes);
      return [{ ...target, backupId, kind, createdAt, storedBytes, kept: isKept, rule }];
    });
  }
  const { state } = await app.load(backups, tenant, siteId);
  return siteVerdicts(state, rules, now).flatMap(({ backupId, isKept, rule }) => {
    const point = state.points[backupId];
    if (!point) return [];
    const { createdAt } = point;
    const kind = kindNames[point.kind] ?? "";
    const storedBytes = BigInt(point.storedBytes);
    return [{ ...target, backupId, kind, createdAt, storedBytes, kept: isKept, rule }];
  });
}

/** What one expiry let go of a target. */
export async function letGoBy(
  { app }: Pick<Reach, "app">,
  { tenant, siteId, source }: Target,
  jobId: string,
): Promise<{ deleted: number; freedBytes: number }> {
  const { state } =
    source === ""
      ? await app.load(backups, tenant, siteId)
      : await app.load(databaseBackups, platform, source);
  const gone = Object.values(state.points).filter(({ expiredBy }) => expiredBy === jobId);
  return {
    deleted: gone.length,
    freedBytes: gone.reduce((sum, { storedBytes }) => sum + storedBytes, 0),
  };
}
