/** RetentionService: what would go and why, and letting it go. */
import {
  type CleanBackupsRequest,
  type CleanBackupsResponse,
  type GetCleaningRequest,
  type GetCleaningResponse,
  type PreviewCleanRequest,
  type PreviewCleanResponse,
  RetentionServiceService,
  type RetentionServiceServer,
} from "@chom/proto/chom/backup/v1/retention";
import { invalid, notFound } from "@chom/shared/failure/failure";
import { fieldsOf } from "@chom/shared/rpc/fields";
import { type Caller, type RpcService, unary } from "@chom/shared/rpc/unary";
import type { App } from "@chom/shared/service/app";
import { isId } from "@chom/shared/aggregate/id";
import type { CleanParts, cleanBackups } from "./clean-backups.ts";
import { cleanings, cleaningsId } from "./cleanings.ts";
import { type Target, targetsOf, verdictsOf } from "./plan-clean.ts";

type Parts = Pick<CleanParts, "rules" | "sources"> & {
  readonly clean: ReturnType<typeof cleanBackups>;
};

/** The last target of a page. It only says where to go on: what is shown is bound to the caller's tenant anyhow. */
function targetOf(token: string): Target | undefined {
  if (token === "") return undefined;
  const text = Buffer.from(token, "base64url").toString("latin1");
  const [tenant = "", siteId = "", source = "", ...rest] = text.split("/");
  const isWhole = isId(tenant) && rest.length === 0 && isId(siteId === "" ? source : siteId);
  if (!isWhole)
    throw invalid([{ field: "page_token", description: "is not a token of this list" }]);
  return { tenant, siteId, source };
}
const tokenOf = ({ tenant, siteId, source }: Target): string =>
  Buffer.from(`${tenant}/${siteId}/${source}`).toString("base64url");

async function preview(
  app: App,
  parts: Parts,
  request: PreviewCleanRequest,
  { tenant }: Caller,
): Promise<PreviewCleanResponse> {
  const fields = fieldsOf(request);
  const limit = fields.pageSize();
  fields.done();
  const reach = { ...parts, app };
  const targets = await targetsOf(reach, tenant, { after: targetOf(request.pageToken), limit });
  const now = app.now();
  const verdicts = await Promise.all(targets.map((target) => verdictsOf(reach, target, now)));
  const last = targets.length === limit ? targets.at(-1) : undefined;
  return { verdicts: verdicts.flat(), nextPageToken: last ? tokenOf(last) : "" };
}

async function clean(
  app: App,
  { clean: job }: Parts,
  request: CleanBackupsRequest,
  { tenant, actor }: Caller,
): Promise<CleanBackupsResponse> {
  const fields = fieldsOf(request);
  const jobId = fields.id("requestId");
  const reason = fields.optionalText("reason", { max: 200 });
  fields.done();
  const input = { now: undefined };
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
  request: GetCleaningRequest,
  { tenant }: Caller,
): Promise<GetCleaningResponse> {
  const fields = fieldsOf(request);
  const jobId = fields.id("jobId");
  fields.done();
  const { state } = await app.load(cleanings, tenant, cleaningsId);
  const found = state.recent.find((cleaned) => cleaned.jobId === jobId);
  if (!found) throw notFound("cleaning", jobId);
  const { jobId: _, ...summary } = found;
  return summary;
}

export const cleanRpc = (app: App, parts: Parts): RpcService => {
  const implementation: RetentionServiceServer = {
    previewClean: unary((request, caller) => preview(app, parts, request, caller)),
    cleanBackups: unary((request, caller) => clean(app, parts, request, caller)),
    getCleaning: unary((request, caller) => get(app, request, caller)),
  };
  return { definition: RetentionServiceService, implementation };
};
