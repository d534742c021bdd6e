/** The list of the control plane's own backups, folded into Postgres. */
import { DatabaseBackupStatus } from "@chom/proto/chom/backup/v1/databases";
import type { Transaction } from "@chom/shared/projection/database";
import { type ProjectedMeta, projection } from "@chom/shared/projection/projection";
import { and, eq } from "drizzle-orm";
import { databaseEvents } from "./database-backups.ts";
import { databaseBackupRows as rows } from "./database-tables.ts";

const change = (
  backupId: string,
  values: Partial<typeof rows.$inferInsert>,
  { tenant }: ProjectedMeta,
  tx: Transaction,
) =>
  tx
    .update(rows)
    .set(values)
    .where(and(eq(rows.tenant, tenant), eq(rows.backupId, backupId)));

export const databaseBackupList = projection({
  name: "database-backup-list",
  source: { stream: "EVENTS", aggregate: "database-backup" },
  rebuild: { tables: [rows] },
  from: databaseEvents,
  on: {
    DatabaseBackupStarted: ({ backupId, source, location, runId }, { tenant, time }, tx) =>
      tx
        .insert(rows)
        .values({
          ...{ tenant, backupId, source, location, runId, createdAt: time },
          status: DatabaseBackupStatus.RUNNING,
        })
        .onConflictDoNothing(),
    DatabaseBackupCompleted(data, meta, tx) {
      const { backupId, restoreTested, jobId: _, manifestKey: __, ...facts } = data;
      const { manifestSha256: ___, ...values } = facts;
      const status = restoreTested ? DatabaseBackupStatus.TESTED : DatabaseBackupStatus.AVAILABLE;
      const end = { status, completedAt: meta.time, failureCode: "", failureMessage: "" };
      return change(backupId, { ...values, ...end }, meta, tx);
    },
    DatabaseBackupFailed: ({ backupId, code, message }, meta, tx) =>
      change(
        backupId,
        {
          status: DatabaseBackupStatus.FAILED,
          ...{ failureCode: code, failureMessage: message, completedAt: meta.time },
        },
        meta,
        tx,
      ),
    DatabaseBackupExpired: ({ backupId }, meta, tx) =>
      change(backupId, { status: DatabaseBackupStatus.EXPIRED }, meta, tx),
  },
});
