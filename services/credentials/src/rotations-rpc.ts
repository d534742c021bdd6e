/** RotationsService: whose keys are due, and rotating them. */
import {
  type GetRotationRunRequest,
  type GetRotationRunResponse,
  type PreviewRotationRequest,
  type PreviewRotationResponse,
  type RotateDueKeysRequest,
  type RotateDueKeysResponse,
  type RotationsServiceServer,
  RotationsServiceService,
} from "@chom/proto/chom/credentials/v1/rotations";
import { notFound } from "@chom/shared/failure/failure";
import { fieldsOf } from "@chom/shared/rpc/fields";
import { decodeToken, encodeToken, pageOf } from "@chom/shared/rpc/page-token";
import { type Caller, type RpcService, unary } from "@chom/shared/rpc/unary";
import type { App } from "@chom/shared/service/app";
import { keyRotations, roundsId } from "./key-rotations.ts";
import type { rotateDue } from "./rotate-due.ts";
import { rotationStates } from "./rotation-plan.ts";

type Parts = { readonly rotateDue: ReturnType<typeof rotateDue>; readonly maxAgeDays: number };

async function preview(
  app: App,
  { maxAgeDays }: Parts,
  request: PreviewRotationRequest,
  { tenant }: Caller,
): Promise<PreviewRotationResponse> {
  const fields = fieldsOf(request);
  const serverId = fields.optionalId("serverId");
  const pageSize = fields.pageSize();
  fields.done();
  const { force } = request;
  const scope = { tenant, list: "rotations", filter: { serverId, force } };
  const after = decodeToken(app.sealer, scope, request.pageToken);
  const query = { tenant, serverId, force, maxAgeDays, now: app.now(), limit: pageSize + 1, after };
  const found = await rotationStates(app.db, query);
  if (serverId !== "" && found.length === 0) throw notFound("server", serverId);
  const { rows, nextPageToken } = pageOf(found, pageSize, (last) =>
    encodeToken(app.sealer, scope, {
      createdAt: last.lastRotatedAt ?? new Date(0),
      id: last.serverId,
    }),
  );
  return { servers: [...rows], nextPageToken, maxAgeDays };
}

async function rotate(
  app: App,
  { rotateDue: job, maxAgeDays }: Parts,
  request: RotateDueKeysRequest,
  { tenant, actor }: Caller,
): Promise<RotateDueKeysResponse> {
  const fields = fieldsOf(request);
  const jobId = fields.id("requestId");
  const serverId = fields.optionalId("serverId");
  const reason = fields.optionalText("reason", { max: 200 });
  fields.done();
  const { force } = request;
  if (serverId !== "") {
    const query = { tenant, serverId, force, maxAgeDays, now: app.now(), limit: 1 };
    const [found] = await rotationStates(app.db, query);
    if (!found) throw notFound("server", serverId);
  }
  const input = { serverId, force, reason };
  const options = reason === "" ? {} : { reason };
  const { position } = await app.dispatch({ job, jobId, input, tenant, actor, options });
  return { jobId, position: BigInt(position) };
}

async function get(
  app: App,
  request: GetRotationRunRequest,
  { tenant }: Caller,
): Promise<GetRotationRunResponse> {
  const fields = fieldsOf(request);
  const jobId = fields.id("jobId");
  fields.done();
  const { state } = await app.load(keyRotations, tenant, roundsId);
  const found = state.recent.find((round) => round.jobId === jobId);
  if (!found) throw notFound("rotation-run", jobId);
  return { results: found.results };
}

export const rotationsRpc = (app: App, parts: Parts): RpcService => {
  const implementation: RotationsServiceServer = {
    previewRotation: unary((request, caller) => preview(app, parts, request, caller)),
    rotateDueKeys: unary((request, caller) => rotate(app, parts, request, caller)),
    getRotationRun: unary((request, caller) => get(app, request, caller)),
  };
  return { definition: RotationsServiceService, implementation };
};
