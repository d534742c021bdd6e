/**
 * All recovery points of one site and the restores from them: points are opened once, then completed or failed, later
 * verified, found corrupt or expired. One aggregate, because retention may only decide over all of them together.
 */
import { type Aggregate, aggregate, type Evolve } from "@chom/shared/aggregate/aggregate";
import { eventTypes } from "@chom/shared/aggregate/event-types";
import { rejected } from "@chom/shared/failure/failure";
import type { Abandoned, Begun, Done, FailureReport } from "@chom/shared/job/job";
import type { BackupKind } from "@chom/proto/chom/backup/v1/backup";
import {
  BackupCompleted,
  BackupCorrupt,
  BackupCreated,
  BackupExpired,
  BackupFailed,
  BackupVerified,
  type CreateBackupInput,
  type ExpireBackupsInput,
  RestoreCompleted,
  RestoreFailed,
  type RestoreBackupInput,
  RestoreRolledBack,
  RestoreStarted,
  RestoreSwapStarted,
  type VerifyBackupInput,
} from "@chom/proto/chom/backup/v1/events";

type PointStatus = "pending" | "available" | "verified" | "corrupt" | "failed" | "expired";

/** One recovery point. */
export type Point = {
  backupId: string;
  kind: BackupKind;
  status: PointStatus;
  createdAt: Date;
  keepUntil: Date | undefined;
  isSafetyPoint: boolean;
  isSuspicious: boolean;
  sizeBytes: number;
  storedBytes: number;
  manifestKey: string;
  manifestSha256: string;
  /** The job that let it go; empty while it is there. */
  expiredBy: string;
};

/** `touched`: the site itself is being changed, so an end that is not a success must have put it back. */
type Restore = { backupId: string; status: "running" | "touched" | "ended" };

export type Backups = {
  points: Readonly<Record<string, Point>>;
  restores: Readonly<Record<string, Restore>>;
  /** How many runs failed since the last one that completed. */
  failuresInARow: number;
};

/** What a finished backup reports; sizes as numbers, because a site of 9 petabytes will not come. */
export type Taken = {
  sizeBytes: number;
  storedBytes: number;
  filesCount: number;
  tablesCount: number;
  manifestKey: string;
  manifestSha256: string;
  gapMs: number;
};
export type Restored = {
  safetyBackupId: string;
  filesCount: number;
  tablesCount: number;
};
/** `problem` is null when every byte was as the manifest says. */
export type Verified = { bytesRead: number; problem: { code: string; message: string } | null };
type Expiry = { backupId: string; rule: string };

export const happened = eventTypes({
  BackupCreated,
  BackupCompleted,
  BackupFailed,
  BackupVerified,
  BackupCorrupt,
  BackupExpired,
  RestoreStarted,
  RestoreSwapStarted,
  RestoreCompleted,
  RestoreRolledBack,
  RestoreFailed,
});

const changePoint = (state: Backups, backupId: string, change: Partial<Point>): Backups => {
  const point = state.points[backupId];
  if (!point) return state;
  return { ...state, points: { ...state.points, [backupId]: { ...point, ...change } } };
};
const changeRestore = (state: Backups, restoreId: string, restore: Restore): Backups => ({
  ...state,
  restores: { ...state.restores, [restoreId]: restore },
});
const endRestore = (state: Backups, data: { restoreId: string; backupId: string }): Backups =>
  changeRestore(state, data.restoreId, { backupId: data.backupId, status: "ended" });

const evolve: Evolve<Backups, typeof happened> = {
  BackupCreated: (state, data, { time }) => ({
    ...state,
    points: {
      ...state.points,
      [data.backupId]: {
        backupId: data.backupId,
        kind: data.kind,
        status: "pending",
        createdAt: time,
        keepUntil: data.keepUntil,
        isSafetyPoint: data.safetyPoint,
        isSuspicious: false,
        sizeBytes: 0,
        storedBytes: 0,
        manifestKey: "",
        manifestSha256: "",
        expiredBy: "",
      },
    },
  }),
  BackupCompleted: (state, data) => ({
    ...changePoint(state, data.backupId, {
      status: "available",
      isSuspicious: data.suspicious,
      sizeBytes: Number(data.sizeBytes),
      storedBytes: Number(data.storedBytes),
      manifestKey: data.manifestKey,
      manifestSha256: data.manifestSha256,
    }),
    failuresInARow: 0,
  }),
  BackupFailed: (state, { backupId }) => ({
    ...changePoint(state, backupId, { status: "failed" }),
    failuresInARow: state.failuresInARow + 1,
  }),
  BackupVerified: (state, { backupId }) => changePoint(state, backupId, { status: "verified" }),
  BackupCorrupt: (state, { backupId }) => changePoint(state, backupId, { status: "corrupt" }),
  BackupExpired: (state, { backupId, jobId }) =>
    changePoint(state, backupId, { status: "expired", expiredBy: jobId }),
  RestoreStarted: (state, { restoreId, backupId }) =>
    changeRestore(state, restoreId, { backupId, status: "running" }),
  RestoreSwapStarted: (state, { restoreId, backupId }) =>
    changeRestore(state, restoreId, { backupId, status: "touched" }),
  RestoreCompleted: endRestore,
  RestoreRolledBack: endRestore,
  RestoreFailed: endRestore,
};

const isReadable = (point: Point | undefined): boolean =>
  point?.status === "available" || point?.status === "verified";

const open = (state: Backups, { input, jobId }: Begun<CreateBackupInput>) => {
  if (state.points[input.backupId]) return [];
  const { backupId, siteId, serverId, kind, keepUntil, safetyPoint } = input;
  return happened.BackupCreated({
    backupId,
    siteId,
    serverId,
    kind,
    keepUntil,
    safetyPoint,
    jobId,
  });
};

const complete = (state: Backups, report: Done<CreateBackupInput, Taken>) => {
  const { input, result, jobId, durationMs } = report;
  const { backupId, siteId, kind } = input;
  if (isReadable(state.points[backupId])) return [];
  return happened.BackupCompleted({
    backupId,
    siteId,
    kind,
    sizeBytes: BigInt(result.sizeBytes),
    storedBytes: BigInt(result.storedBytes),
    filesCount: BigInt(result.filesCount),
    tablesCount: BigInt(result.tablesCount),
    manifestKey: result.manifestKey,
    manifestSha256: result.manifestSha256,
    durationMs: BigInt(Math.round(durationMs)),
    gapMs: BigInt(Math.round(result.gapMs)),
    suspicious: isUnusual(state, kind, result.sizeBytes),
    jobId,
  });
};

const failPoint = (
  state: Backups,
  report: Begun<CreateBackupInput> & { code: string; message: string },
) => {
  const { backupId, siteId } = report.input;
  if (isReadable(state.points[backupId]) || state.points[backupId]?.status === "failed") return [];
  const { code, message, jobId } = report;
  return happened.BackupFailed({ backupId, siteId, code, message, jobId });
};

const endBadly = (
  state: Backups,
  report: Begun<RestoreBackupInput> & { code: string; message: string; undone: boolean },
) => {
  const { restoreId, backupId, siteId } = report.input;
  const status = state.restores[restoreId]?.status;
  if (status === "ended") return [];
  const { code, message, undone, jobId } = report;
  const ids = { restoreId, backupId, siteId, jobId };
  const unfinished = Object.values(state.points)
    .filter((point) => point.isSafetyPoint && point.status === "pending")
    .map((point) => happened.BackupFailed({ ...ids, backupId: point.backupId, code, message }));
  if (status !== "touched") {
    return [...unfinished, happened.RestoreFailed({ ...ids, code, message })];
  }
  if (undone) return [...unfinished, happened.RestoreRolledBack({ ...ids, code, message })];
  const stays = `the site could not be put back and stays closed; first: ${code}, ${message}`;
  return [
    ...unfinished,
    happened.RestoreFailed({ ...ids, code: "needs-operator", message: stays }),
  ];
};

const commands = {
  begin: open,
  complete,
  fail: (state: Backups, report: FailureReport<CreateBackupInput>) => failPoint(state, report),
  abandon: (state: Backups, { reason, ...report }: Abandoned<CreateBackupInput>) =>
    failPoint(state, { ...report, code: "cancelled", message: reason }),

  beginRestore: (state: Backups, { input, jobId }: Begun<RestoreBackupInput>) => {
    if (state.restores[input.restoreId]) return [];
    const { restoreId, backupId, siteId, serverId } = input;
    return happened.RestoreStarted({ restoreId, backupId, siteId, serverId, jobId });
  },
  touch: (
    state: Backups,
    input: { restoreId: string; backupId: string; siteId: string; jobId: string },
  ) =>
    state.restores[input.restoreId]?.status === "running" ? happened.RestoreSwapStarted(input) : [],
  completeRestore: (state: Backups, report: Done<RestoreBackupInput, Restored>) => {
    const { restoreId, backupId, siteId } = report.input;
    if (state.restores[restoreId]?.status === "ended") return [];
    const { safetyBackupId, filesCount, tablesCount } = report.result;
    return happened.RestoreCompleted({
      restoreId,
      backupId,
      siteId,
      safetyBackupId,
      filesCount: BigInt(filesCount),
      tablesCount: BigInt(tablesCount),
      durationMs: BigInt(Math.round(report.durationMs)),
      jobId: report.jobId,
    });
  },
  failRestore: (state: Backups, report: FailureReport<RestoreBackupInput>) =>
    endBadly(state, report),
  abandonRestore: (state: Backups, { reason, ...report }: Abandoned<RestoreBackupInput>) =>
    endBadly(state, { ...report, code: "cancelled", message: reason, undone: true }),
  openSafety: open,
  completeSafety: complete,
  failSafety: (
    state: Backups,
    report: Begun<CreateBackupInput> & { code: string; message: string },
  ) => failPoint(state, report),

  endVerification: (state: Backups, report: Done<VerifyBackupInput, Verified>) => {
    const { backupId, siteId } = report.input;
    const { bytesRead, problem } = report.result;
    const status = state.points[backupId]?.status;
    if (status !== "available" && status !== "verified" && status !== "corrupt") return [];
    const ids = { backupId, siteId, jobId: report.jobId };
    return problem
      ? happened.BackupCorrupt({ ...ids, ...problem })
      : happened.BackupVerified({ ...ids, bytesRead: BigInt(bytesRead), verifiedAt: report.at });
  },
  noteNothing: () => [],

  /** Refuses what nobody may let go: a point that is not there to be read, or one that a restore is reading. */
  expire: (state: Backups, input: Expiry & { siteId: string; jobId: string }) => {
    const point = state.points[input.backupId];
    if (!point || point.status === "expired") return [];
    if (isInUse(state, input.backupId))
      throw rejected("backup-in-use", "a restore reads this backup");
    return happened.BackupExpired({ ...input, freedBytes: BigInt(point.storedBytes) });
  },
  /** Everything was recorded while it ran. */
  endExpiry: (_state: Backups, _report: Done<ExpireBackupsInput, { expired: number }>) => [],
};

/** True while a restore that has not ended reads the point. */
export const isInUse = (state: Backups, backupId: string): boolean =>
  Object.values(state.restores).some(
    (restore) => restore.status !== "ended" && restore.backupId === backupId,
  );

/** Far from the median of the last seven points of its kind: below half or above four times. Three are needed to know. */
function isUnusual(state: Backups, kind: BackupKind, sizeBytes: number): boolean {
  const sizes = Object.values(state.points)
    .filter((point) => point.kind === kind && isReadable(point) && !point.isSafetyPoint)
    .sort((a, b) => b.createdAt.getTime() - a.createdAt.getTime())
    .slice(0, 7)
    .map((point) => point.sizeBytes)
    .sort((a, b) => a - b);
  const median = sizes[sizes.length >> 1] ?? 0;
  return sizes.length >= 3 && (sizeBytes < median / 2 || sizeBytes > median * 4);
}

export const backups: Aggregate<Backups, typeof happened, typeof commands> = aggregate({
  name: "backups",
  events: happened,
  initial: (): Backups => ({ points: {}, restores: {}, failuresInARow: 0 }),
  evolve,
  commands,
});
