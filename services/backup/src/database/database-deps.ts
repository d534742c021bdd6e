/** What the jobs on databases are made from. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import { failureOf, notFound, rejected } from "@chom/shared/failure/failure";
import type { App } from "@chom/shared/service/app";
import type { BackupKeys } from "../backup-keys.ts";
import type { Vault } from "../vault.ts";
import {
  type DatabasePoint,
  databaseBackups,
  isReadable,
  type Location,
  platform,
} from "./database-backups.ts";
import { type DatabaseManifest, verifyDatabaseManifest } from "./database-manifest.ts";
import type { DatabaseSource, Engine } from "./database-sources.ts";
import type { DatabaseTools, Use } from "./database-tools.ts";
import { mysqlTools } from "./mysql-tools.ts";
import { postgresTools } from "./postgres-tools.ts";
import { sqliteTools } from "./sqlite-tools.ts";

export type DatabaseDeps = {
  readonly load: App["load"];
  readonly sources: readonly DatabaseSource[];
  readonly vault: Vault;
  /** A folder on this machine; undefined when none is configured. */
  readonly local: Vault | undefined;
  readonly keys: BackupKeys;
  readonly toolFolders: readonly string[];
  /** In production nothing is stored without encryption, whoever asks. */
  readonly isProduction: boolean;
};

const tools: Readonly<Record<Engine, DatabaseTools>> = {
  postgres: postgresTools,
  mysql: mysqlTools,
  sqlite: sqliteTools,
};

/** The programs for a kind of database. */
export const toolsOf = (engine: Engine): DatabaseTools => tools[engine];

/** Where objects of that location lie. Throws `invalid-config` when there is no local folder. */
export function vaultAt({ vault, local }: DatabaseDeps, location: Location): Vault {
  if (location === "vault") return vault;
  if (local) return local;
  throw failureOf(
    "invalid-config",
    "no local folder is configured: set CHOM_LOCAL_BACKUPS, or upload",
  );
}

/** Everything of one backup lies below this key. */
export const folderOf = (source: string, backupId = ""): string =>
  `${platform}/databases/${source}/${backupId === "" ? "" : `${backupId}/`}`;

/** Runs with a folder of mode 0700 that is gone afterwards. */
export async function withFolder<Result>(
  { toolFolders }: Pick<DatabaseDeps, "toolFolders">,
  signal: AbortSignal,
  work: (use: Use) => Promise<Result>,
): Promise<Result> {
  const folder = await mkdtemp(join(tmpdir(), "chom-database-"));
  try {
    return await work({ folder, toolFolders, signal });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** A backup that was completed and is still there. Throws `backup-not-found`, `backup-not-readable`. */
export async function findDatabaseBackup(
  load: App["load"],
  source: string,
  backupId: string,
): Promise<DatabasePoint> {
  const { state } = await load(databaseBackups, platform, source);
  const point = state.points[backupId];
  if (!point) throw notFound("backup", backupId);
  if (!isReadable(point)) throw rejected("backup-not-readable", `the backup is ${point.status}`);
  return point;
}

/** Its manifest, believed only with our signature and for this backup of this source. */
export async function readDatabaseManifest(
  deps: DatabaseDeps,
  source: string,
  point: DatabasePoint,
  signal: AbortSignal,
): Promise<DatabaseManifest> {
  const { manifestKey, manifestSha256: sha256, backupId } = point;
  const stored = await vaultAt(deps, point.location).get(manifestKey, { sha256 }, signal);
  return verifyDatabaseManifest(await buffer(stored), deps.keys.signingKeys, { source, backupId });
}
