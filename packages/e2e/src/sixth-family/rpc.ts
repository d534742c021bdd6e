/** ScanService: what the last scan found. */
import { notFound } from "@chom/shared/failure/failure";
import { fieldsOf } from "@chom/shared/rpc/fields";
import { type Caller, type RpcService, unary } from "@chom/shared/rpc/unary";
import type { App } from "@chom/shared/service/app";
import { and, eq } from "drizzle-orm";
import {
  type GetScanRequest,
  type GetScanResponse,
  ScanServiceService,
} from "./gen/chom/scan/v1/scan.ts";
import { scans } from "./tables.ts";

async function get(
  app: App,
  request: GetScanRequest,
  { tenant }: Caller,
): Promise<GetScanResponse> {
  const fields = fieldsOf(request);
  const siteId = fields.id("siteId");
  const position = fields.position();
  fields.done();
  await app.seen("scan-list", position);
  const [row] = await app.db
    .select()
    .from(scans)
    .where(and(eq(scans.tenant, tenant), eq(scans.siteId, siteId)));
  if (!row) throw notFound("scan", siteId);
  return { scan: row };
}

/** The tenant comes from the caller alone: a site of another tenant is not found. */
export const scanRpc = (app: App): RpcService => ({
  definition: ScanServiceService,
  implementation: {
    getScan: unary((request: GetScanRequest, caller) => get(app, request, caller)),
  },
});
