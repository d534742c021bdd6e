/** Reading a recovery point back: its manifest, believed only with our signature and for the site that asks. */
import { buffer } from "node:stream/consumers";
import type { App } from "@chom/shared/service/app";
import { notFound, rejected } from "@chom/shared/failure/failure";
import { backups, type Point } from "./backups.ts";
import { type Manifest, verifyManifest } from "./manifest.ts";
import type { BackupDeps } from "./take-backup.ts";

export type PointDeps = BackupDeps & { load: App["load"] };
export type PointId = { tenant: string; siteId: string; backupId: string };

/** The point as the log knows it. Throws `backup-not-found`, and `backup-not-readable` unless it was completed. */
export async function findPoint(load: App["load"], id: PointId): Promise<Point> {
  const { state } = await load(backups, id.tenant, id.siteId);
  const point = state.points[id.backupId];
  if (!point) throw notFound("backup", id.backupId);
  if (!["available", "verified", "corrupt"].includes(point.status)) {
    throw rejected("backup-not-readable", `the backup is ${point.status}`);
  }
  return point;
}

/** The manifest of a point. Throws `checksum-mismatch`, `manifest-invalid`, `foreign-manifest`, `object-missing`. */
export async function readManifest(
  { vault, keys }: BackupDeps,
  id: PointId,
  point: { manifestKey: string; manifestSha256: string },
  signal: AbortSignal,
): Promise<Manifest> {
  const bytes = await buffer(
    await vault.get(point.manifestKey, { sha256: point.manifestSha256 }, signal),
  );
  return verifyManifest(bytes, keys.signingKeys, id);
}
