/** The fields of a request for a site, read and checked. */
import type { ProvisionSiteInput } from "@chom/proto/chom/provisioning/v1/events";
import { type ProvisionSiteRequest, SiteKind } from "@chom/proto/chom/provisioning/v1/provisioning";
import { hashId } from "@chom/shared/aggregate/id";
import { emailProblem } from "@chom/shared/input/email";
import { phpVersionProblem } from "@chom/shared/input/names";
import { fieldsOf } from "@chom/shared/rpc/fields";
import { bringsDatabase, needsPhp } from "./site-kind.ts";

/** What was asked for; Failure `invalid` with every field that is not right. The site's id comes from the request's. */
export function readSiteRequest(
  request: ProvisionSiteRequest,
  tenant: string,
): { readonly requestId: string; readonly reason: string; readonly input: ProvisionSiteInput } {
  const fields = fieldsOf(request);
  const requestId = fields.id("requestId");
  const domain = fields.domain("domain");
  const serverId = fields.id("serverId");
  const kind: SiteKind = fields.enum("kind", SiteKind);
  const reason = fields.optionalText("reason", { max: 200 });
  const { phpVersion, database, sslEnabled, adminEmail } = request;
  if (phpVersion !== "") {
    fields.fitting("phpVersion", phpVersionProblem);
    if (kind === SiteKind.STATIC) fields.refuse("phpVersion", "must be empty for a static site");
  }
  if (database && !needsPhp(kind)) {
    fields.refuse("database", "must be false for a static site: nothing there could use it");
  }
  if (kind === SiteKind.WORDPRESS) fields.fitting("adminEmail", emailProblem);
  else if (adminEmail !== "") fields.refuse("adminEmail", "must be empty: only WordPress uses it");
  fields.done();
  const siteId = hashId("site", tenant, requestId);
  const wantsDatabase = database || bringsDatabase(kind);
  const asked = { siteId, domain, serverId, kind, phpVersion, sslEnabled, adminEmail };
  return { requestId, reason, input: { ...asked, database: wantsDatabase } };
}
