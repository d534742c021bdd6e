/** The provisioning service: puts sites on servers and takes them off again. */
import { networks } from "@chom/shared/input/networks";
import { int, text } from "@chom/shared/service/settings";
import { serve } from "@chom/shared/service/serve";
import { configuredArchive } from "./application-archive.ts";
import { deprovisionSite } from "./deprovision-site.ts";
import { domainClaims } from "./domain-claims.ts";
import { claimedDomains, siteList } from "./projections.ts";
import { provisionSite } from "./provision-site.ts";
import { followRestores, releaseDomains } from "./reactors.ts";
import { provisioningRpc } from "./rpc.ts";
import { siteSecretsIn } from "./site-secrets.ts";
import { sweepCutRequests } from "./sweep.ts";

const optional = { fallback: undefined };

await serve({
  name: "provisioning",
  migrations: new URL("../migrations", import.meta.url),
  settings: {
    wordpressArchive: text("CHOM_WORDPRESS_ARCHIVE", optional),
    wordpressSha256: text("CHOM_WORDPRESS_ARCHIVE_SHA256", optional),
    laravelArchive: text("CHOM_LARAVEL_ARCHIVE", optional),
    laravelSha256: text("CHOM_LARAVEL_ARCHIVE_SHA256", optional),
    networks: networks("CHOM_ALLOWED_NETWORKS"),
    quarantineDays: int("CHOM_QUARANTINE_DAYS", { min: 0, max: 365, fallback: 7 }),
  },
  cast: (app, settings) => {
    const { quarantineDays } = settings;
    const secrets = siteSecretsIn(app);
    const claims = domainClaims(app);
    const wordpress = configuredArchive(
      settings.wordpressArchive,
      settings.wordpressSha256,
      "CHOM_WORDPRESS_ARCHIVE",
      settings.networks,
    );
    const laravel = configuredArchive(
      settings.laravelArchive,
      settings.laravelSha256,
      "CHOM_LARAVEL_ARCHIVE",
      settings.networks,
    );
    const archives = { wordpress, laravel };
    const provision = provisionSite({ claims, secrets, archives, quarantineDays });
    const deprovision = deprovisionSite({ secrets, quarantineDays });
    return {
      jobs: [provision, deprovision],
      reactors: [followRestores, releaseDomains],
      projections: [siteList, claimedDomains],
      rpc: [provisioningRpc(app, { provision, deprovision, secrets, archives })],
      ticks: [sweepCutRequests(app)],
    };
  },
});
