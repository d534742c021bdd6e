/** The settings of the backup service and its cast. */
import type { App, Cast } from "@chom/shared/service/app";
import {
  int,
  list,
  oneOf,
  secretFile,
  text,
  url,
  type Values,
} from "@chom/shared/service/settings";
import { readBackupKeys } from "./backup-keys.ts";
import { cleanBackups } from "./cleaning/clean-backups.ts";
import { cleanRpc } from "./cleaning/clean-rpc.ts";
import { createBackup } from "./create-backup.ts";
import { backUpDatabase } from "./database/back-up-database.ts";
import { databaseBackupList } from "./database/database-projection.ts";
import { databaseRpc } from "./database/database-rpc.ts";
import { databaseSources } from "./database/database-sources.ts";
import { expireDatabaseBackups } from "./database/expire-database.ts";
import { restoreDatabase } from "./database/restore-database.ts";
import { expireBackups } from "./expire-backups.ts";
import { openVault } from "./open-vault.ts";
import { backupList } from "./projections.ts";
import { presentSites, siteBackupList } from "./site-backups.ts";
import { restoreBackup } from "./restore-backup.ts";
import { defaultRules } from "./retention.ts";
import { backupRpc } from "./rpc.ts";
import { showBackups } from "./show-backups.ts";
import { localVault } from "./vault-local.ts";
import { vaultSweep } from "./vault-sweep.ts";
import { verifyBackup } from "./verify-backup.ts";

const atLeastOne = { min: 1, max: 1000 };
export const settings = {
  environment: oneOf("CHOM_ENVIRONMENT", ["production", "development", "test"]),
  vault: url("CHOM_VAULT"),
  vaultCredentials: secretFile("CHOM_VAULT_CREDENTIALS_FILE", { fallback: undefined }),
  identity: secretFile("CHOM_BACKUP_IDENTITY_FILE"),
  daily: int("CHOM_BACKUP_KEEP_DAILY", { ...atLeastOne, fallback: defaultRules.daily }),
  weekly: int("CHOM_BACKUP_KEEP_WEEKLY", { ...atLeastOne, fallback: defaultRules.weekly }),
  monthly: int("CHOM_BACKUP_KEEP_MONTHLY", { ...atLeastOne, fallback: defaultRules.monthly }),
  databases: databaseSources("CHOM_DATABASES"),
  toolFolders: list("CHOM_DATABASE_TOOLS", { fallback: [] }),
  localFolder: text("CHOM_LOCAL_BACKUPS", { fallback: undefined }),
};

/** Wires the service. */
export function cast(app: App, given: Values<typeof settings>): Cast {
  const { daily, weekly, monthly, databases: sources, toolFolders, localFolder } = given;
  const vault = openVault(given.vault, given.vaultCredentials);
  const local = localFolder === undefined ? undefined : localVault(localFolder);
  const keys = readBackupKeys(given.identity);
  showBackups(app);
  const rules = { ...defaultRules, daily, weekly, monthly };
  const deps = { vault, keys, load: app.load };
  const isProduction = given.environment === "production";
  const databaseDeps = { ...deps, sources, local, toolFolders, isProduction };
  const create = createBackup(deps);
  const restore = restoreBackup(deps);
  const verify = verifyBackup(deps);
  const expire = expireBackups({ ...deps, rules });
  const backUp = backUpDatabase(databaseDeps, app);
  const restoreOne = restoreDatabase(databaseDeps);
  const expireDatabase = expireDatabaseBackups({ ...databaseDeps, rules });
  const reach = { rules, sources: sources.map(({ name }) => name) };
  const clean = cleanBackups({ ...reach, app, expire, expireDatabase });
  return {
    jobs: [create, restore, verify, expire, backUp, restoreOne, expireDatabase, clean],
    projections: [backupList, databaseBackupList, siteBackupList, presentSites],
    rpc: [
      backupRpc(app, { create, restore, verify }),
      databaseRpc(app, { deps: databaseDeps, backUp, restore: restoreOne }),
      cleanRpc(app, { ...reach, clean }),
    ],
    ticks: [vaultSweep(app, local ? [vault, local] : [vault])],
  };
}
