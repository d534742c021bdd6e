/** All backups of one of the control plane's own databases. One aggregate, because retention decides over all of them. */
import type {
  DatabaseBackupInput,
  ExpireDatabaseBackupsInput,
  RestoreDatabaseInput,
} from "@chom/proto/chom/backup/v1/database_events";
import {
  DatabaseBackupExpired,
  DatabaseBackupStarted,
  DatabaseRestored,
  DatabaseRestoreFailed,
} from "@chom/proto/chom/backup/v1/database_events";
import { DatabaseBackupCompleted, DatabaseBackupFailed } from "@chom/proto/chom/backup/v1/events";
import { aggregate, type Evolve } from "@chom/shared/aggregate/aggregate";
import { eventTypes } from "@chom/shared/aggregate/event-types";
import type { Abandoned, Begun, Done, FailureReport } from "@chom/shared/job/job";
import type { StoredStream } from "../archive.ts";
import type { Engine } from "./database-sources.ts";
import type { Counted } from "./database-tools.ts";

/** Backups of the control plane belong to nobody else. */
export const platform = "platform";
/** Where an object lies: away from the machine, or in a folder of the service's own. */
export type Location = "vault" | "local";

type Status = "running" | "available" | "tested" | "failed" | "expired";
export type DatabasePoint = {
  backupId: string;
  engine: string;
  status: Status;
  createdAt: Date;
  location: Location;
  storedBytes: number;
  manifestKey: string;
  manifestSha256: string;
  /** The job that let it go; empty while it is there. */
  expiredBy: string;
};
export type DatabaseBackups = {
  points: Readonly<Record<string, DatabasePoint>>;
  /** How many runs failed since the last one that completed. */
  failuresInARow: number;
};

export const databaseEvents = eventTypes({
  DatabaseBackupStarted,
  DatabaseBackupCompleted,
  DatabaseBackupFailed,
  DatabaseBackupExpired,
  DatabaseRestored,
  DatabaseRestoreFailed,
});
const happened = databaseEvents;

/** What a finished backup reports; null for the job that only started those of every source. */
export type DatabaseTaken = {
  taken:
    | (StoredStream &
        Counted & {
          engine: Engine;
          location: Location;
          isEncrypted: boolean;
          restoreTested: boolean;
          manifestKey: string;
          manifestSha256: string;
        })
    | null;
};

const change = (
  state: DatabaseBackups,
  backupId: string,
  values: Partial<DatabasePoint>,
): DatabaseBackups => {
  const point = state.points[backupId];
  if (!point) return state;
  return { ...state, points: { ...state.points, [backupId]: { ...point, ...values } } };
};

const evolve: Evolve<DatabaseBackups, typeof happened> = {
  DatabaseBackupStarted: (state, { backupId, location }, { time }) => ({
    ...state,
    points: {
      ...state.points,
      [backupId]: {
        backupId,
        engine: "",
        status: "running",
        createdAt: time,
        location: location === "local" ? "local" : "vault",
        storedBytes: 0,
        manifestKey: "",
        manifestSha256: "",
        expiredBy: "",
      },
    },
  }),
  DatabaseBackupCompleted: (state, data) => ({
    ...change(state, data.backupId, {
      engine: data.engine,
      status: data.restoreTested ? "tested" : "available",
      storedBytes: Number(data.storedBytes),
      manifestKey: data.manifestKey,
      manifestSha256: data.manifestSha256,
    }),
    failuresInARow: 0,
  }),
  DatabaseBackupFailed: (state, { backupId }) => ({
    ...change(state, backupId, { status: "failed" }),
    failuresInARow: state.failuresInARow + 1,
  }),
  DatabaseBackupExpired: (state, { backupId, jobId }) =>
    change(state, backupId, { status: "expired", expiredBy: jobId }),
  DatabaseRestored: (state) => state,
  DatabaseRestoreFailed: (state) => state,
};

/** True for one that is stored and there. */
export const isReadable = (point: DatabasePoint | undefined): boolean =>
  point?.status === "available" || point?.status === "tested";

/** The job's own id is the backup's, so that a job that is retried is the same backup. */
const idsOf = ({ input, jobId }: { input: DatabaseBackupInput; jobId: string }) => ({
  ...{ backupId: jobId, source: input.source, jobId },
  runId: input.runId === "" ? jobId : input.runId,
});

type Bad<Input> = { input: Input; jobId: string; code: string; message: string };

const failBackup = (state: DatabaseBackups, report: Bad<DatabaseBackupInput>) => {
  const point = state.points[report.jobId];
  const isOver = point !== undefined && point.status !== "running";
  if (report.input.source === "" || isOver) return [];
  const { code, message } = report;
  return happened.DatabaseBackupFailed({ ...idsOf(report), engine: "", code, message });
};
const failRestore = ({ input, jobId, code, message }: Bad<RestoreDatabaseInput>) =>
  happened.DatabaseRestoreFailed({ ...input, jobId, code, message });

const commands = {
  begin: (state: DatabaseBackups, begun: Begun<DatabaseBackupInput>) => {
    const { input, jobId } = begun;
    if (input.source === "" || state.points[jobId]) return [];
    const location = input.localOnly ? "local" : "vault";
    return happened.DatabaseBackupStarted({ ...idsOf(begun), location });
  },
  complete: (state: DatabaseBackups, report: Done<DatabaseBackupInput, DatabaseTaken>) => {
    const { taken } = report.result;
    if (!taken || isReadable(state.points[report.jobId])) return [];
    return happened.DatabaseBackupCompleted({
      ...idsOf(report),
      engine: taken.engine,
      sizeBytes: BigInt(taken.plainBytes),
      storedBytes: BigInt(taken.storedBytes),
      objectKey: taken.key,
      sha256: taken.storedSha256,
      tablesCount: BigInt(taken.tables),
      rowsCount: BigInt(taken.rows),
      location: taken.location,
      encrypted: taken.isEncrypted,
      restoreTested: taken.restoreTested,
      durationMs: BigInt(Math.round(report.durationMs)),
      manifestKey: taken.manifestKey,
      manifestSha256: taken.manifestSha256,
    });
  },
  fail: (state: DatabaseBackups, report: FailureReport<DatabaseBackupInput>) =>
    failBackup(state, report),
  abandon: (state: DatabaseBackups, { reason, ...report }: Abandoned<DatabaseBackupInput>) =>
    failBackup(state, { ...report, code: "cancelled", message: reason }),

  completeRestore: (_: DatabaseBackups, report: Done<RestoreDatabaseInput, Counted>) =>
    happened.DatabaseRestored({
      ...report.input,
      tablesCount: BigInt(report.result.tables),
      rowsCount: BigInt(report.result.rows),
      durationMs: BigInt(Math.round(report.durationMs)),
      jobId: report.jobId,
    }),
  failRestore: (_: DatabaseBackups, report: FailureReport<RestoreDatabaseInput>) =>
    failRestore(report),
  abandonRestore: (_: DatabaseBackups, report: Abandoned<RestoreDatabaseInput>) =>
    failRestore({ ...report, code: "cancelled", message: report.reason }),

  /** The lease of the source keeps restores away while this runs. */
  expire: (
    state: DatabaseBackups,
    input: { backupId: string; source: string; rule: string; jobId: string },
  ) => {
    const point = state.points[input.backupId];
    if (!point || !isReadable(point)) return [];
    return happened.DatabaseBackupExpired({ ...input, freedBytes: BigInt(point.storedBytes) });
  },
  endExpiry: (
    _state: DatabaseBackups,
    _report: Done<ExpireDatabaseBackupsInput, { expired: number }>,
  ) => [],
  noteNothing: () => [],
};

export const databaseBackups = aggregate({
  name: "database-backup",
  events: happened,
  initial: (): DatabaseBackups => ({ points: {}, failuresInARow: 0 }),
  evolve,
  commands,
});
