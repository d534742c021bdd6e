/** The fields of a request for a site, read and checked. */
import type { ProvisionSiteInput } from "@chom/proto/chom/provisioning/v1/events";
import { type ProvisionSiteRequest, SiteKind } from "@chom/proto/chom/provisioning/v1/provisioning";
import { hashId } from "@chom/shared/aggregate/id";
import { fieldsOf } from "@chom/shared/rpc/fields";
import { bringsDatabase, needsPhp } from "./site-kind.ts";

const phpVersionShape = /^[5-9]\.[0-9]{1,2}$/;
const emailShape = /^[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9-]{0,62}\.)+[A-Za-z]{2,63}$/;

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
    fields.matching("phpVersion", phpVersionShape, "like 8.2");
    if (kind === SiteKind.STATIC) fields.refuse("phpVersion", "must be empty for a static site");
  }
  if (database && !needsPhp(kind)) {
    fields.refuse("database", "must be false for a static site: nothing there could use it");
  }
  if (kind === SiteKind.WORDPRESS) fields.matching("adminEmail", emailShape, "an e-mail address");
  else if (adminEmail !== "") fields.refuse("adminEmail", "must be empty: only WordPress uses it");
  fields.done();
  const siteId = hashId("site", tenant, requestId);
  const wantsDatabase = database || bringsDatabase(kind);
  const asked = { siteId, domain, serverId, kind, phpVersion, sslEnabled, adminEmail };
  return { requestId, reason, input: { ...asked, database: wantsDatabase } };
}
