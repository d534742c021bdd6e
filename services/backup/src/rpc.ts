/** BackupService: back up, restore, verify, look. */
import {
  type Backup,
  BackupKind,
  type BackupServiceServer,
  BackupServiceService,
  type CreateBackupRequest,
  type CreateBackupResponse,
  type GetBackupRequest,
  type GetBackupResponse,
  type ListBackupsRequest,
  type ListBackupsResponse,
  type RestoreBackupRequest,
  type RestoreBackupResponse,
  type VerifyBackupRequest,
  type VerifyBackupResponse,
} from "@chom/proto/chom/backup/v1/backup";
import type { CreateBackupInput } from "@chom/proto/chom/backup/v1/events";
import { notFound } from "@chom/shared/failure/failure";
import { fieldsOf } from "@chom/shared/rpc/fields";
import { decodeToken, encodeToken, pageOf } from "@chom/shared/rpc/page-token";
import { type Caller, type RpcService, unary } from "@chom/shared/rpc/unary";
import type { App } from "@chom/shared/service/app";
import { and, asc, eq, gt, or } from "drizzle-orm";
import { type Backups, backups } from "./backups.ts";
import { type createBackup, timeoutFor } from "./create-backup.ts";
import { findPoint } from "./read-point.ts";
import type { restoreBackup } from "./restore-backup.ts";
import { backupOverview } from "./site-backups.ts";
import { siteFacts } from "./site-facts.ts";
import { points } from "./tables.ts";
import type { verifyBackup } from "./verify-backup.ts";

export type BackupJobs = {
  readonly create: ReturnType<typeof createBackup>;
  readonly restore: ReturnType<typeof restoreBackup>;
  readonly verify: ReturnType<typeof verifyBackup>;
};

const listName = "backup-list";
const dayMs = 86_400_000;
const longestDays = 3650;
const reasonLimits = { max: 200 };

type Row = typeof points.$inferSelect;

const messageOf = (row: Row): Backup => ({
  ...row,
  // Written by our own projection from the same enums.
  kind: row.kind as Backup["kind"],
  status: row.status as Backup["status"],
  completedAt: row.completedAt ?? undefined,
  verifiedAt: row.verifiedAt ?? undefined,
  keepUntil: row.keepUntil ?? undefined,
});

/** Where the site lives, from its own events. A site of another tenant, or one that is gone, is not found. */
async function placeOf(app: App, tenant: string, siteId: string) {
  const { state } = await app.load(siteFacts, tenant, siteId);
  if (state.status !== "provisioned" || !state.site) throw notFound("site", siteId);
  const { serverId, domain, systemUser, rootPath, databaseName, kind, phpVersion } = state.site;
  return {
    siteId,
    serverId,
    domain,
    systemUser,
    rootPath,
    databaseName,
    siteKind: kind,
    phpVersion,
  };
}

/** Time for a backup of this site, by the size of its newest readable point. */
function timeoutIn(state: Backups): number {
  const [newest] = Object.values(state.points)
    .filter(({ status }) => status === "available" || status === "verified")
    .sort((a, b) => b.createdAt.getTime() - a.createdAt.getTime());
  return timeoutFor(BigInt(newest?.sizeBytes ?? 0));
}

async function create(
  app: App,
  job: BackupJobs["create"],
  request: CreateBackupRequest,
  { tenant, actor }: Caller,
): Promise<CreateBackupResponse> {
  const fields = fieldsOf(request);
  const jobId = fields.id("requestId");
  const siteId = fields.id("siteId");
  const kind = fields.enum("kind", BackupKind) as BackupKind;
  const days = fields.int("retentionDays", { min: 0, max: longestDays });
  const reason = fields.optionalText("reason", reasonLimits);
  fields.done();
  const place = await placeOf(app, tenant, siteId);
  const { state } = await app.load(backups, tenant, siteId);
  const known = state.points[jobId];
  const input: CreateBackupInput = {
    ...place,
    backupId: jobId,
    kind,
    // A repeated request must have the input of the first one, also on another day.
    keepUntil: known ? known.keepUntil : keepUntilOf(app.now(), days),
    safetyPoint: false,
    estimatedBytes: 0n,
  };
  const options = { reason, timeoutMs: timeoutIn(state) };
  const { position } = await app.dispatch({ job, jobId, input, tenant, actor, options });
  return { jobId, backupId: jobId, position: BigInt(position) };
}

/** Whole days, counted from the end of this one. */
function keepUntilOf(now: Date, days: number): Date | undefined {
  const today = Math.floor(now.getTime() / dayMs) * dayMs;
  return days === 0 ? undefined : new Date(today + (days + 1) * dayMs);
}

async function restore(
  app: App,
  job: BackupJobs["restore"],
  request: RestoreBackupRequest,
  { tenant, actor }: Caller,
): Promise<RestoreBackupResponse> {
  const fields = fieldsOf(request);
  const jobId = fields.id("requestId");
  const siteId = fields.id("siteId");
  const backupId = fields.id("backupId");
  const reason = fields.optionalText("reason", reasonLimits);
  fields.done();
  const place = await placeOf(app, tenant, siteId);
  const point = await findPoint(app.load, { tenant, siteId, backupId });
  const input = {
    ...place,
    restoreId: jobId,
    backupId,
    manifestKey: point.manifestKey,
    acceptNoSafety: request.acceptNoSafety,
    estimatedBytes: BigInt(point.sizeBytes),
  };
  const { position } = await app.dispatch({
    job,
    jobId,
    input,
    tenant,
    actor,
    options: { reason },
  });
  return { jobId, restoreId: jobId, position: BigInt(position) };
}

async function verify(
  app: App,
  job: BackupJobs["verify"],
  request: VerifyBackupRequest,
  { tenant, actor }: Caller,
): Promise<VerifyBackupResponse> {
  const fields = fieldsOf(request);
  const jobId = fields.id("requestId");
  const siteId = fields.id("siteId");
  const backupId = fields.id("backupId");
  fields.done();
  const { manifestKey } = await findPoint(app.load, { tenant, siteId, backupId });
  const input = { siteId, backupId, manifestKey };
  const { position } = await app.dispatch({ job, jobId, input, tenant, actor });
  return { jobId, position: BigInt(position) };
}

async function get(
  app: App,
  request: GetBackupRequest,
  { tenant }: Caller,
): Promise<GetBackupResponse> {
  const fields = fieldsOf(request);
  const backupId = fields.id("backupId");
  const position = fields.position();
  fields.done();
  await app.seen(listName, position);
  const [row] = await app.db
    .select()
    .from(points)
    .where(and(eq(points.tenant, tenant), eq(points.backupId, backupId)));
  if (!row) throw notFound("backup", backupId);
  return { backup: messageOf(row) };
}

async function list(
  app: App,
  request: ListBackupsRequest,
  { tenant }: Caller,
): Promise<ListBackupsResponse> {
  const fields = fieldsOf(request);
  const siteId = fields.id("siteId");
  const pageSize = fields.pageSize();
  const position = fields.position();
  fields.done();
  const scope = { tenant, list: "backups", filter: { siteId } };
  const after = decodeToken(app.sealer, scope, request.pageToken);
  await app.seen(listName, position);
  const { createdAt, backupId } = points;
  const behind = after
    ? or(
        gt(createdAt, after.createdAt),
        and(eq(createdAt, after.createdAt), gt(backupId, after.id)),
      )
    : undefined;
  const found = await app.db
    .select()
    .from(points)
    .where(and(eq(points.tenant, tenant), eq(points.siteId, siteId), behind))
    .orderBy(asc(createdAt), asc(backupId))
    .limit(pageSize + 1);
  const { rows, nextPageToken } = pageOf(found, pageSize, (last) =>
    encodeToken(app.sealer, scope, { createdAt: last.createdAt, id: last.backupId }),
  );
  return { backups: rows.map(messageOf), nextPageToken };
}

/** Tenants come from the caller alone: a site or a backup of another tenant is not found. */
export const backupRpc = (app: App, jobs: BackupJobs): RpcService => {
  const implementation: BackupServiceServer = {
    createBackup: unary((request, caller) => create(app, jobs.create, request, caller)),
    restoreBackup: unary((request, caller) => restore(app, jobs.restore, request, caller)),
    verifyBackup: unary((request, caller) => verify(app, jobs.verify, request, caller)),
    getBackup: unary((request, caller) => get(app, request, caller)),
    getBackupOverview: unary((request, caller) => backupOverview(app, request, caller)),
    listBackups: unary((request, caller) => list(app, request, caller)),
  };
  return { definition: BackupServiceService, implementation };
};
