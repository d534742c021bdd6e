/** DatabaseBackupsService: back the control plane's databases up, look, restore. For the platform alone. */
import {
  type CreateDatabaseBackupRequest,
  type CreateDatabaseBackupResponse,
  type DatabaseBackup,
  DatabaseBackupsServiceService,
  type DatabaseBackupsServiceServer,
  type ListDatabaseBackupsRequest,
  type ListDatabaseBackupsResponse,
  type RestoreDatabaseBackupRequest,
  type RestoreDatabaseBackupResponse,
} from "@chom/proto/chom/backup/v1/databases";
import { databaseNameProblem } from "@chom/shared/input/names";
import { fieldsOf } from "@chom/shared/rpc/fields";
import { decodeToken, encodeToken, pageOf } from "@chom/shared/rpc/page-token";
import { type Caller, type RpcService, unary } from "@chom/shared/rpc/unary";
import type { App } from "@chom/shared/service/app";
import { and, desc, eq, lt, or } from "drizzle-orm";
import { type backUpDatabase, checkWish } from "./back-up-database.ts";
import { type DatabaseDeps, findDatabaseBackup } from "./database-deps.ts";
import { findSource } from "./database-sources.ts";
import { databaseBackupRows as rows } from "./database-tables.ts";
import type { restoreDatabase } from "./restore-database.ts";

export type DatabaseParts = {
  readonly deps: DatabaseDeps;
  readonly backUp: ReturnType<typeof backUpDatabase>;
  readonly restore: ReturnType<typeof restoreDatabase>;
};

const reasonLimits = { max: 200 };

async function create(
  app: App,
  { deps, backUp }: DatabaseParts,
  request: CreateDatabaseBackupRequest,
  { tenant, actor }: Caller,
): Promise<CreateDatabaseBackupResponse> {
  const fields = fieldsOf(request);
  const jobId = fields.id("requestId");
  const source = fields.optionalId("source");
  const reason = fields.optionalText("reason", reasonLimits);
  if (request.localOnly && !deps.local) {
    fields.refuse("localOnly", "needs the setting CHOM_LOCAL_BACKUPS");
  }
  fields.done();
  checkWish(deps, tenant, request);
  if (source !== "") findSource(deps.sources, source);
  const { plain, localOnly, untested } = request;
  const input = { source, plain, localOnly, untested, runId: "" };
  const command = { job: backUp, jobId, input, tenant, actor, options: { reason } };
  const { position } = await app.dispatch(command);
  return { jobId, position: BigInt(position) };
}

async function restore(
  app: App,
  { deps, restore: job }: DatabaseParts,
  request: RestoreDatabaseBackupRequest,
  { tenant, actor }: Caller,
): Promise<RestoreDatabaseBackupResponse> {
  const fields = fieldsOf(request);
  const jobId = fields.id("requestId");
  const backupId = fields.id("backupId");
  const targetSource = fields.optionalId("targetSource");
  const targetDatabase = fields.fitting("targetDatabase", databaseNameProblem);
  const reason = fields.optionalText("reason", reasonLimits);
  const source = fields.id("source");
  fields.done();
  checkWish(deps, tenant, { plain: false });
  findSource(deps.sources, targetSource || source);
  await findDatabaseBackup(deps.load, source, backupId);
  const input = { source, backupId, targetSource: targetSource || source, targetDatabase };
  const { position } = await app.dispatch({
    job,
    jobId,
    input,
    tenant,
    actor,
    options: { reason },
  });
  return { jobId, position: BigInt(position) };
}

const messageOf = ({ tenant: _tenant, ...row }: typeof rows.$inferSelect): DatabaseBackup => ({
  ...row,
  // Written by our own projection from the same enum.
  status: row.status as DatabaseBackup["status"],
  completedAt: row.completedAt ?? undefined,
});

async function list(
  app: App,
  { deps }: DatabaseParts,
  request: ListDatabaseBackupsRequest,
  { tenant }: Caller,
): Promise<ListDatabaseBackupsResponse> {
  const fields = fieldsOf(request);
  const source = fields.optionalId("source");
  const runId = fields.optionalId("runId");
  const pageSize = fields.pageSize();
  const position = fields.position();
  fields.done();
  checkWish(deps, tenant, { plain: false });
  const scope = { tenant, list: "database-backups", filter: { source, runId } };
  const after = decodeToken(app.sealer, scope, request.pageToken);
  await app.seen("database-backup-list", position);
  const { createdAt, backupId } = rows;
  const older =
    after &&
    or(lt(createdAt, after.createdAt), and(eq(createdAt, after.createdAt), lt(backupId, after.id)));
  const wanted = and(
    eq(rows.tenant, tenant),
    source === "" ? undefined : eq(rows.source, source),
    runId === "" ? undefined : eq(rows.runId, runId),
  );
  const found = await app.db
    .select()
    .from(rows)
    .where(and(wanted, older))
    .orderBy(desc(createdAt), desc(backupId))
    .limit(pageSize + 1);
  const page = pageOf(found, pageSize, (last) =>
    encodeToken(app.sealer, scope, { createdAt: last.createdAt, id: last.backupId }),
  );
  return { backups: page.rows.map(messageOf), nextPageToken: page.nextPageToken };
}

export const databaseRpc = (app: App, parts: DatabaseParts): RpcService => {
  const implementation: DatabaseBackupsServiceServer = {
    createDatabaseBackup: unary((request, caller) => create(app, parts, request, caller)),
    restoreDatabaseBackup: unary((request, caller) => restore(app, parts, request, caller)),
    listDatabaseBackups: unary((request, caller) => list(app, parts, request, caller)),
  };
  return { definition: DatabaseBackupsServiceService, implementation };
};
