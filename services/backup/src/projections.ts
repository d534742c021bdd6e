/** The list of recovery points and of restores, folded into Postgres. */
import { BackupStatus, RestoreStatus } from "@chom/proto/chom/backup/v1/backup";
import type { Transaction } from "@chom/shared/projection/database";
import { type ProjectedMeta, projection } from "@chom/shared/projection/projection";
import { and, eq } from "drizzle-orm";
import { happened } from "./backups.ts";
import { points, restores } from "./tables.ts";

type PointChange = Partial<typeof points.$inferInsert>;
type RestoreChange = Partial<typeof restores.$inferInsert>;

const changePoint = (
  backupId: string,
  values: PointChange,
  { tenant }: ProjectedMeta,
  tx: Transaction,
) =>
  tx
    .update(points)
    .set(values)
    .where(and(eq(points.tenant, tenant), eq(points.backupId, backupId)));

const endRestore = (
  restoreId: string,
  values: RestoreChange,
  { tenant, time }: ProjectedMeta,
  tx: Transaction,
) =>
  tx
    .update(restores)
    .set({ ...values, endedAt: time })
    .where(and(eq(restores.tenant, tenant), eq(restores.restoreId, restoreId)));

const noFailure = { failureCode: "", failureMessage: "" };
const failed = ({ code, message }: { code: string; message: string }) => ({
  failureCode: code,
  failureMessage: message,
});

export const backupList = projection({
  name: "backup-list",
  source: { stream: "EVENTS", aggregate: "backups" },
  rebuild: { tables: [points, restores] },
  from: happened,
  on: {
    BackupCreated: ({ backupId, siteId, kind, keepUntil, safetyPoint }, { tenant, time }, tx) =>
      tx
        .insert(points)
        .values({
          tenant,
          backupId,
          siteId,
          kind,
          status: BackupStatus.PENDING,
          createdAt: time,
          keepUntil: keepUntil ?? null,
          safetyPoint,
        })
        .onConflictDoNothing(),
    BackupCompleted(data, meta, tx) {
      const { sizeBytes, storedBytes, filesCount, tablesCount, manifestKey, suspicious } = data;
      const sizes = { sizeBytes, storedBytes, filesCount, tablesCount };
      const now = { status: BackupStatus.AVAILABLE, completedAt: meta.time, ...noFailure };
      return changePoint(data.backupId, { ...sizes, manifestKey, suspicious, ...now }, meta, tx);
    },
    BackupFailed: (data, meta, tx) =>
      changePoint(data.backupId, { status: BackupStatus.FAILED, ...failed(data) }, meta, tx),
    BackupVerified: ({ backupId, verifiedAt }, meta, tx) =>
      changePoint(
        backupId,
        { status: BackupStatus.VERIFIED, verifiedAt: verifiedAt ?? meta.time, ...noFailure },
        meta,
        tx,
      ),
    BackupCorrupt: (data, meta, tx) =>
      changePoint(data.backupId, { status: BackupStatus.CORRUPT, ...failed(data) }, meta, tx),
    BackupExpired: ({ backupId }, meta, tx) =>
      changePoint(backupId, { status: BackupStatus.EXPIRED }, meta, tx),
    RestoreStarted: ({ restoreId, backupId, siteId }, { tenant, time }, tx) =>
      tx
        .insert(restores)
        .values({
          tenant,
          restoreId,
          backupId,
          siteId,
          status: RestoreStatus.RUNNING,
          startedAt: time,
        })
        .onConflictDoNothing(),
    RestoreCompleted: ({ restoreId, safetyBackupId }, meta, tx) =>
      endRestore(restoreId, { status: RestoreStatus.RESTORED, safetyBackupId }, meta, tx),
    RestoreRolledBack: (data, meta, tx) =>
      endRestore(data.restoreId, { status: RestoreStatus.ROLLED_BACK, ...failed(data) }, meta, tx),
    RestoreFailed: (data, meta, tx) =>
      endRestore(data.restoreId, { status: RestoreStatus.FAILED, ...failed(data) }, meta, tx),
  },
});
