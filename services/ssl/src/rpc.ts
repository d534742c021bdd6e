/** SslService: issue, renew, look. */
import {
  type GetCertificateOverviewRequest,
  type GetCertificateRequest,
  type GetCertificateResponse,
  type IssueCertificateRequest,
  type IssueCertificateResponse,
  type ListCertificatesRequest,
  type ListCertificatesResponse,
  type RenewCertificateRequest,
  type RenewCertificateResponse,
  SslServiceService,
} from "@chom/proto/chom/ssl/v1/ssl";
import { notFound } from "@chom/shared/failure/failure";
import { fieldsOf } from "@chom/shared/rpc/fields";
import { decodeToken, encodeToken, pageOf } from "@chom/shared/rpc/page-token";
import { type Caller, type RpcService, unary } from "@chom/shared/rpc/unary";
import type { App } from "@chom/shared/service/app";
import { and, asc, eq, gt, or } from "drizzle-orm";
import { certificate } from "./certificate.ts";
import { certificateOverview } from "./certificate-overview.ts";
import type { IssueCertificate } from "./issue-certificate.ts";
import type { RenewCertificate } from "./renew-certificate.ts";
import { messageOf } from "./rows.ts";
import { siteFacts } from "./site-facts.ts";
import { certificates } from "./tables.ts";

const projectionName = "certificate-list";
const reasonLimits = { max: 200 };

type Jobs = { readonly issue: IssueCertificate; readonly renew: RenewCertificate };

async function issue(
  app: App,
  job: IssueCertificate,
  request: IssueCertificateRequest,
  { tenant, actor }: Caller,
): Promise<IssueCertificateResponse> {
  const fields = fieldsOf(request);
  const jobId = fields.id("requestId");
  const siteId = fields.id("siteId");
  const reason = fields.optionalText("reason", reasonLimits);
  fields.done();
  const { state: site } = await app.load(siteFacts, tenant, siteId);
  if (site.status !== "provisioned") throw notFound("site", siteId);
  const { domain, serverId } = site;
  const input = { siteId, domain, serverId };
  const { position } = await app.dispatch({
    job,
    jobId,
    input,
    tenant,
    actor,
    options: { reason },
  });
  return { jobId, position: BigInt(position) };
}

async function renew(
  app: App,
  job: RenewCertificate,
  request: RenewCertificateRequest,
  { tenant, actor }: Caller,
): Promise<RenewCertificateResponse> {
  const fields = fieldsOf(request);
  const jobId = fields.id("requestId");
  const siteId = fields.id("siteId");
  const reason = fields.optionalText("reason", reasonLimits);
  fields.done();
  const { state } = await app.load(certificate, tenant, siteId);
  if (state.serial === "") throw notFound("certificate", siteId);
  const { domain, serverId, serial, ariId } = state;
  const input = { siteId, domain, serverId, serial, ariId, force: request.force };
  const { position } = await app.dispatch({
    job,
    jobId,
    input,
    tenant,
    actor,
    options: { reason },
  });
  return { jobId, position: BigInt(position) };
}

async function get(
  app: App,
  request: GetCertificateRequest,
  { tenant }: Caller,
): Promise<GetCertificateResponse> {
  const fields = fieldsOf(request);
  const siteId = fields.id("siteId");
  const position = fields.position();
  fields.done();
  await app.seen(projectionName, position);
  const [row] = await app.db
    .select()
    .from(certificates)
    .where(and(eq(certificates.tenant, tenant), eq(certificates.siteId, siteId)));
  if (!row) throw notFound("certificate", siteId);
  return { certificate: messageOf(row) };
}

async function list(
  app: App,
  request: ListCertificatesRequest,
  { tenant }: Caller,
): Promise<ListCertificatesResponse> {
  const fields = fieldsOf(request);
  const pageSize = fields.pageSize();
  const position = fields.position();
  fields.done();
  const scope = { tenant, list: "certificates" };
  const after = decodeToken(app.sealer, scope, request.pageToken);
  await app.seen(projectionName, position);
  const { createdAt, siteId } = certificates;
  const behind = after
    ? or(gt(createdAt, after.createdAt), and(eq(createdAt, after.createdAt), gt(siteId, after.id)))
    : undefined;
  const found = await app.db
    .select()
    .from(certificates)
    .where(and(eq(certificates.tenant, tenant), behind))
    .orderBy(asc(createdAt), asc(siteId))
    .limit(pageSize + 1);
  const { rows, nextPageToken } = pageOf(found, pageSize, (last) =>
    encodeToken(app.sealer, scope, { createdAt: last.createdAt, id: last.siteId }),
  );
  return { certificates: rows.map(messageOf), nextPageToken };
}

/** Tenants come from the caller alone: a site of another tenant is not found. */
export const sslRpc = (app: App, jobs: Jobs): RpcService => ({
  definition: SslServiceService,
  implementation: {
    issueCertificate: unary((request: IssueCertificateRequest, caller) =>
      issue(app, jobs.issue, request, caller),
    ),
    renewCertificate: unary((request: RenewCertificateRequest, caller) =>
      renew(app, jobs.renew, request, caller),
    ),
    getCertificate: unary((request: GetCertificateRequest, caller) => get(app, request, caller)),
    getCertificateOverview: unary((request: GetCertificateOverviewRequest, caller) =>
      certificateOverview(app, request, caller),
    ),
    listCertificates: unary((request: ListCertificatesRequest, caller) =>
      list(app, request, caller),
    ),
  },
});
