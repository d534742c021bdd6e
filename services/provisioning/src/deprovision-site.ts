/** `site.deprovision`: takes a site off its server; its files and a last dump are kept aside for a while. */
import { DeprovisionSiteInput } from "@chom/proto/chom/provisioning/v1/events";
import { job } from "@chom/shared/job/job";
import { namesOf } from "./names.ts";
import {
  checkSiteGone,
  quarantineFiles,
  removeDatabase,
  removePhpPool,
  removeSiteUser,
  removeVhost,
} from "./removal-scripts.ts";
import type { SiteSecrets } from "./site-secrets.ts";
import { site } from "./site.ts";

export type DeprovisionDependencies = {
  readonly secrets: SiteSecrets;
  /** How long the files and the last dump stay on the server. */
  readonly quarantineDays: number;
};

/** Declares `site.deprovision`. Nothing is taken back on failure: the next attempt, or the next request, goes on. */
export const deprovisionSite = ({ secrets, quarantineDays }: DeprovisionDependencies) =>
  job(site, {
    name: "site.deprovision",
    input: DeprovisionSiteInput,
    of: ({ siteId }) => siteId,
    site: ({ siteId }) => siteId,
    server: ({ serverId }) => serverId,
    started: "beginRemoval",
    done: "completeRemoval",
    failed: "failRemoval",
    cancelled: "abandonRemoval",
    queue: "default",
    tries: 3,
    // The last dump grows with the database.
    timeoutMs: 3_600_000,
    backoffMs: [60_000],
    exclusive: ({ siteId }) => [`site.${siteId}`],
    circuit: ({ serverId }) => serverId,

    async work({ siteId, serverId, databaseName }, run): Promise<undefined> {
      const names = { ...namesOf(siteId), databaseName };
      const aside = { ...names, run: run.id, keepDays: quarantineDays };
      await run.script("stop serving the site", removeVhost, serverId, names);
      await run.script("remove the PHP pool", removePhpPool, serverId, names);
      await run.script("set files and a last dump aside", quarantineFiles, serverId, aside);
      if (databaseName !== "") {
        await run.script("drop the database", removeDatabase, serverId, names);
      }
      await run.script("remove the user", removeSiteUser, serverId, names);
      await run.script("look for leftovers", checkSiteGone, serverId, names);
      await run.step("forget its passwords", () => secrets.forget(run.tenant, siteId));
      return undefined;
    },
  });
