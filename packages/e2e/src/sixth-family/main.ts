/** The scanning service: its cast. Not started by anything: it is the example of CONTRIBUTING.md, and compiled. */
import { SiteProvisioned } from "@chom/proto/chom/provisioning/v1/events";
import { aggregate } from "@chom/shared/aggregate/aggregate";
import { eventTypes } from "@chom/shared/aggregate/event-types";
import { serve } from "@chom/shared/service/serve";
import { scanList } from "./projections.ts";
import { scanRestoredSites } from "./reactors.ts";
import { scanRpc } from "./rpc.ts";
import { scanSite } from "./scan-site.ts";

/** What this family needs to know of a site, folded from provisioning's own facts. */
const siteFacts = aggregate({
  name: "site",
  events: eventTypes({ SiteProvisioned }),
  initial: () => ({ serverId: "", systemUser: "" }),
  evolve: { SiteProvisioned: (_, { serverId, systemUser }) => ({ serverId, systemUser }) },
  commands: {},
});

await serve({
  // @ts-expect-error until "scan" is one of the families in packages/shared/src/topology/names.ts
  name: "scan",
  migrations: new URL("./migrations", import.meta.url),
  cast: (app) => ({
    jobs: [scanSite],
    reactors: [
      scanRestoredSites(async (tenant, id) => (await app.load(siteFacts, tenant, id)).state),
    ],
    projections: [scanList],
    rpc: [scanRpc(app)],
  }),
});
