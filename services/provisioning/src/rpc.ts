/** The API of sites. */
import {
  type DeprovisionSiteRequest,
  type GetSiteRequest,
  type ListSitesRequest,
  type ProvisionSiteRequest,
  ProvisioningServiceService,
  type RevealSiteSecretsRequest,
  type Site,
  SiteKind,
  siteKindFromJSON,
  SiteStatus,
} from "@chom/proto/chom/provisioning/v1/provisioning";
import { and, eq, gt, or } from "drizzle-orm";
import { notFound, rejected } from "@chom/shared/failure/failure";
import type { AnyJob } from "@chom/shared/job/job";
import { fieldsOf } from "@chom/shared/rpc/fields";
import { decodeToken, encodeToken, pageOf } from "@chom/shared/rpc/page-token";
import { type Caller, type RpcService, unary } from "@chom/shared/rpc/unary";
import type { App } from "@chom/shared/service/app";
import type { ProvisionDependencies } from "./provision-site.ts";
import { administrator } from "./provision-site.ts";
import { namesOf } from "./names.ts";
import { siteList } from "./projections.ts";
import { requestSite } from "./request-site.ts";
import { readSiteRequest } from "./site-request.ts";
import type { SiteSecrets } from "./site-secrets.ts";
import { site } from "./site.ts";
import { sites } from "./tables.ts";

export type ProvisioningJobs = {
  readonly provision: AnyJob;
  readonly deprovision: AnyJob;
  readonly secrets: SiteSecrets;
  readonly archives: ProvisionDependencies["archives"];
};

const statuses: Readonly<Record<string, SiteStatus>> = {
  creating: SiteStatus.CREATING,
  active: SiteStatus.ACTIVE,
  removing: SiteStatus.REMOVING,
  removed: SiteStatus.REMOVED,
  failed: SiteStatus.FAILED,
};

type Row = typeof sites.$inferSelect;

const shown = (row: Row): Site => ({
  siteId: row.siteId,
  domain: row.domain,
  serverId: row.serverId,
  phpVersion: row.phpVersion,
  sslEnabled: row.sslEnabled,
  systemUser: row.systemUser,
  rootPath: row.rootPath,
  databaseName: row.databaseName,
  failureCode: row.failureCode,
  failureMessage: row.failureMessage,
  createdAt: row.createdAt,
  kind: siteKindFromJSON(row.kind),
  status: row.restoreId ? SiteStatus.RESTORING : (statuses[row.status] ?? SiteStatus.UNSPECIFIED),
  provisionedAt: row.provisionedAt ?? undefined,
});

async function provision(
  app: App,
  jobs: ProvisioningJobs,
  request: ProvisionSiteRequest,
  { tenant, actor }: Caller,
) {
  const { requestId, reason, input } = readSiteRequest(request, tenant);
  const needed = { [SiteKind.WORDPRESS]: "wordpress", [SiteKind.LARAVEL]: "laravel" } as const;
  const archive = input.kind in needed ? needed[input.kind as keyof typeof needed] : undefined;
  if (archive && !jobs.archives[archive]) {
    throw rejected("unsupported-type", `no ${archive} archive is configured`);
  }
  const asked = { job: jobs.provision, tenant, actor, requestId, reason, input };
  const { position } = await requestSite(app, asked);
  return { jobId: requestId, siteId: input.siteId, position: BigInt(position) };
}

async function deprovision(
  app: App,
  jobs: ProvisioningJobs,
  request: DeprovisionSiteRequest,
  { tenant, actor }: Caller,
) {
  const fields = fieldsOf(request);
  const jobId = fields.id("requestId");
  const siteId = fields.id("siteId");
  const reason = fields.optionalText("reason", { max: 200 });
  fields.done();
  const { state } = await app.load(site, tenant, siteId);
  if (state.status === "absent") throw notFound("site", siteId);
  if (state.jobId !== jobId) {
    if (state.status === "removed") throw rejected("site-removed", "the site is removed already");
    if (state.status === "creating") {
      throw rejected("site-busy", "the site is being created; cancel that job first");
    }
  }
  const { domain, serverId, kind, phpVersion } = state;
  // A site that was never finished may have left its database when even taking it back failed.
  const databaseName =
    state.databaseName || (state.wantsDatabase ? namesOf(siteId).databaseName : "");
  const { position } = await app.dispatch({
    tenant,
    actor,
    job: jobs.deprovision,
    jobId,
    input: { siteId, domain, serverId, kind, phpVersion, databaseName },
    options: reason ? { reason } : {},
  });
  return { jobId, position: BigInt(position) };
}

async function get(app: App, request: GetSiteRequest, { tenant }: Caller) {
  const fields = fieldsOf(request);
  const siteId = fields.id("siteId");
  const position = fields.position();
  fields.done();
  await app.seen(siteList.name, position);
  const [row] = await app.db
    .select()
    .from(sites)
    .where(and(eq(sites.tenant, tenant), eq(sites.siteId, siteId)));
  if (!row) throw notFound("site", siteId);
  return { site: shown(row) };
}

async function list(app: App, request: ListSitesRequest, { tenant }: Caller) {
  const fields = fieldsOf(request);
  const serverId = fields.optionalId("serverId");
  const pageSize = fields.pageSize();
  const position = fields.position();
  fields.done();
  const scope = { tenant, list: "sites", filter: { serverId } };
  const after = decodeToken(app.sealer, scope, request.pageToken);
  await app.seen(siteList.name, position);
  const found = await app.db
    .select()
    .from(sites)
    .where(
      and(
        eq(sites.tenant, tenant),
        serverId ? eq(sites.serverId, serverId) : undefined,
        after &&
          or(
            gt(sites.createdAt, after.createdAt),
            and(eq(sites.createdAt, after.createdAt), gt(sites.siteId, after.id)),
          ),
      ),
    )
    .orderBy(sites.createdAt, sites.siteId)
    .limit(pageSize + 1);
  const { rows, nextPageToken } = pageOf(found, pageSize, ({ createdAt, siteId }) =>
    encodeToken(app.sealer, scope, { createdAt, id: siteId }),
  );
  return { sites: rows.map(shown), nextPageToken };
}

async function reveal(
  app: App,
  { secrets }: ProvisioningJobs,
  request: RevealSiteSecretsRequest,
  { tenant, actor }: Caller,
) {
  const fields = fieldsOf(request);
  const siteId = fields.id("siteId");
  fields.done();
  const { state } = await app.load(site, tenant, siteId);
  if (state.status === "absent") throw notFound("site", siteId);
  const database = await secrets.find(tenant, siteId, "database");
  const admin = await secrets.find(tenant, siteId, "administrator");
  app.logger.info({ tenant, actor, siteId }, "site secrets shown");
  return {
    databaseUser: database ? namesOf(siteId).databaseName : "",
    databasePassword: database?.reveal() ?? "",
    adminUser: admin ? administrator : "",
    adminPassword: admin?.reveal() ?? "",
  };
}

/** ProvisioningService: requests become jobs, reads come from the read model. */
export const provisioningRpc = (app: App, jobs: ProvisioningJobs): RpcService => ({
  definition: ProvisioningServiceService,
  implementation: {
    provisionSite: unary((request: ProvisionSiteRequest, caller) =>
      provision(app, jobs, request, caller),
    ),
    deprovisionSite: unary((request: DeprovisionSiteRequest, caller) =>
      deprovision(app, jobs, request, caller),
    ),
    getSite: unary((request: GetSiteRequest, caller) => get(app, request, caller)),
    listSites: unary((request: ListSitesRequest, caller) => list(app, request, caller)),
    revealSiteSecrets: unary((request: RevealSiteSecretsRequest, caller) =>
      reveal(app, jobs, request, caller),
    ),
  },
});
