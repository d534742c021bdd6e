/** The backup service: its settings and its cast. */
import { serve } from "@chom/shared/service/serve";
import { int, secretFile, url } from "@chom/shared/service/settings";
import { readBackupKeys } from "./backup-keys.ts";
import { createBackup } from "./create-backup.ts";
import { expireBackups } from "./expire-backups.ts";
import { openVault } from "./open-vault.ts";
import { backupList } from "./projections.ts";
import { restoreBackup } from "./restore-backup.ts";
import { defaultRules } from "./retention.ts";
import { retentionSweep } from "./retention-sweep.ts";
import { backupRpc } from "./rpc.ts";
import { verifyBackup } from "./verify-backup.ts";

const atLeastOne = { min: 1, max: 1000 };
const settings = {
  vault: url("CHOM_VAULT"),
  vaultCredentials: secretFile("CHOM_VAULT_CREDENTIALS_FILE", { fallback: undefined }),
  identity: secretFile("CHOM_BACKUP_IDENTITY_FILE"),
  daily: int("CHOM_BACKUP_KEEP_DAILY", { ...atLeastOne, fallback: defaultRules.daily }),
  weekly: int("CHOM_BACKUP_KEEP_WEEKLY", { ...atLeastOne, fallback: defaultRules.weekly }),
  monthly: int("CHOM_BACKUP_KEEP_MONTHLY", { ...atLeastOne, fallback: defaultRules.monthly }),
};

await serve({
  name: "backup",
  migrations: new URL("../migrations", import.meta.url),
  settings,
  cast: (app, { vault: address, vaultCredentials, identity, daily, weekly, monthly }) => {
    const vault = openVault(address, vaultCredentials);
    const keys = readBackupKeys(identity);
    const rules = { ...defaultRules, daily, weekly, monthly };
    const deps = { vault, keys, load: app.load };
    const create = createBackup(deps);
    const restore = restoreBackup(deps);
    const verify = verifyBackup(deps);
    const expire = expireBackups({ ...deps, rules });
    return {
      jobs: [create, restore, verify, expire],
      projections: [backupList],
      rpc: [backupRpc(app, { create, restore, verify })],
      ticks: [retentionSweep(app, expire, { vault, rules })],
    };
  },
});
