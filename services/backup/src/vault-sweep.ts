/** What interrupted writers left in the vault goes after two days. Letting backups go is `backup.clean`'s, by schedule. */
import type { App, Tick } from "@chom/shared/service/app";
import type { Vault } from "./vault.ts";

const hourMs = 3_600_000;
/** An upload that is older belongs to nobody: no attempt lasts as long. */
const abandonedMs = 48 * hourMs;

export const vaultSweep = (app: Pick<App, "now">, vaults: readonly Vault[]): Tick => ({
  name: "vault-sweep",
  everyMs: hourMs,
  async run(signal) {
    for (const vault of vaults) {
      if (signal.aborted) return;
      await vault.sweep(new Date(app.now().getTime() - abandonedMs));
    }
  },
});
