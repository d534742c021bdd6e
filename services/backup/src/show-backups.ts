/** What the backup service shows of the sites' recovery points: how old the newest ones are, and what was proven. */
import { BackupStatus, RestoreStatus } from "@chom/proto/chom/backup/v1/backup";
import type { App } from "@chom/shared/service/app";
import { gauge, sharedReading } from "@chom/shared/telemetry/metrics";
import { asc, eq, inArray, max } from "drizzle-orm";
import { siteFacts } from "./site-facts.ts";
import { points, restores } from "./tables.ts";

type Parts = Pick<App, "db" | "load" | "now">;
type Newest = { readonly tenant: string; readonly siteId: string; readonly at: Date };

const hourMs = 3_600_000;
/** A day and two hours of grace. */
const overdueMs = 26 * hourMs;
const maxAgeMs = 60_000;
/** More overdue sites than these are counted without asking whether each still exists. */
const askedMax = 200;
const usable = [BackupStatus.AVAILABLE, BackupStatus.VERIFIED];

/** The newest usable recovery point of each site, the oldest first. */
async function newestPoints({ db }: Parts): Promise<Newest[]> {
  const at = max(points.completedAt);
  const rows = await db
    .select({ tenant: points.tenant, siteId: points.siteId, at })
    .from(points)
    .where(inArray(points.status, usable))
    .groupBy(points.tenant, points.siteId)
    .orderBy(asc(at));
  return rows.flatMap(({ at, ...site }) => (at ? [{ ...site, at }] : []));
}

/** Backups of a site that was removed are kept for a while and grow old rightly. */
async function withoutRemoved(parts: Parts, overdue: readonly Newest[]): Promise<Newest[]> {
  const kept: Newest[] = [];
  for (const site of overdue.slice(0, askedMax)) {
    const { state } = await parts.load(siteFacts, site.tenant, site.siteId);
    if (state.status !== "removed") kept.push(site);
  }
  return [...kept, ...overdue.slice(askedMax)];
}

async function lastProof({ db }: Parts): Promise<number> {
  const [verified] = await db.select({ at: max(points.verifiedAt) }).from(points);
  const [restored] = await db
    .select({ at: max(restores.endedAt) })
    .from(restores)
    .where(eq(restores.status, RestoreStatus.RESTORED));
  return Math.max(verified?.at?.getTime() ?? 0, restored?.at?.getTime() ?? 0) / 1_000;
}

async function look(parts: Parts) {
  const now = parts.now().getTime();
  const sites = await newestPoints(parts);
  const isOverdue = ({ at }: Newest) => now - at.getTime() > overdueMs;
  const overdue = await withoutRemoved(parts, sites.filter(isOverdue));
  const [oldest] = [...overdue, ...sites.filter((site) => !isOverdue(site))];
  return {
    sites: sites.length,
    overdue: overdue.length,
    oldestSeconds: oldest ? Math.max(0, now - oldest.at.getTime()) / 1_000 : 0,
    proof: await lastProof(parts),
  };
}

/** Declares the gauges. */
export function showBackups(parts: Parts): void {
  const found = sharedReading(maxAgeMs, () => look(parts));
  gauge("chom_backup_sites", async () => [{ value: (await found()).sites, labels: {} }]);
  gauge("chom_backup_sites_overdue", async () => [{ value: (await found()).overdue, labels: {} }]);
  gauge("chom_backup_oldest_seconds", async () => [
    { value: (await found()).oldestSeconds, labels: {} },
  ]);
  gauge("chom_restore_proof_timestamp_seconds", async () => [
    { value: (await found()).proof, labels: {} },
  ]);
}
