/** TokensService: makes API tokens that may do no more than their maker, lists and revokes them. */
import { randomBytes } from "node:crypto";
import {
  ApiToken,
  type CreateTokenRequest,
  type ListTokensRequest,
  type RevokeTokenRequest,
  TokensServiceService,
} from "@chom/proto/chom/credentials/v1/tokens";
import { hashId } from "@chom/shared/aggregate/id";
import { conflict, notFound, security } from "@chom/shared/failure/failure";
import { hashOfToken, makeApiToken } from "@chom/shared/rpc/api-token";
import { fieldsOf } from "@chom/shared/rpc/fields";
import { grants, isRole, roles } from "@chom/shared/rpc/roles";
import { type Caller, type RpcService, unary } from "@chom/shared/rpc/unary";
import type { App } from "@chom/shared/service/app";
import { publishToken } from "./publish-token.ts";
import { apiToken } from "./token.ts";
import { listTokens } from "./token-rows.ts";

const dayMs = 86_400_000;
const known: readonly string[] = roles.owner;

function readCreate(request: CreateTokenRequest) {
  const fields = fieldsOf(request);
  const requestId = fields.id("requestId");
  const name = fields.text("name", { max: 64 });
  const role = fields.optionalText("role", { max: 32 });
  const permissions = [...fields.texts("permissions", { max: 64, items: { max: 100 } })];
  const days = fields.int("days", { min: 1, max: 366, default: 90 });
  if (role !== "" && !isRole(role)) {
    fields.refuse("role", `must be one of ${Object.keys(roles).join(", ")}`);
  }
  if (permissions.some((each) => each !== "*" && !known.includes(each))) {
    fields.refuse("permissions", "must be permissions of CHOM");
  }
  if (role === "" && permissions.length === 0) {
    fields.refuse("role", "is required where no permissions are given");
  }
  fields.done();
  return { requestId, name, role, permissions, days };
}

/** A token is never worth more than the credential it was made with. */
function checkScope(wanted: readonly string[], caller: Caller): void {
  const missing = wanted.filter((each) => !grants(caller.permissions, each));
  if (missing.length > 0) {
    throw security("not-permitted", `you cannot give away what you may not: ${missing.join(", ")}`);
  }
}

function create(app: App) {
  return unary(async (request: CreateTokenRequest, caller: Caller) => {
    const { requestId, name, role, permissions, days } = readCreate(request);
    checkScope([...(isRole(role) ? roles[role] : []), ...permissions], caller);
    const { tenant, actor } = caller;
    const tokenId = hashId("api-token", tenant, requestId);
    const token = makeApiToken(randomBytes);
    const sha256 = hashOfToken(token);
    const createdAt = app.now();
    const expiresAt = new Date(createdAt.getTime() + days * dayMs);
    const created = { tokenId, name, sha256, role, permissions, expiresAt };
    // The seed names this very token: a repeat must not be answered with one that was never stored.
    const cause = { tenant, actor, eventSeed: hashId("create-token", tenant, tokenId, sha256) };
    const { position, decided } = await app.handle(apiToken, tokenId, "create", created, cause);
    if (decided === 0) {
      const why = "this request_id made a token already, which was shown once; revoke it";
      throw conflict("already-exists", `${why}: ${tokenId}`);
    }
    await publishToken(app, tenant, tokenId);
    const facts = { tokenId, name, role, permissions, createdBy: actor, createdAt, expiresAt };
    return { token, apiToken: ApiToken.fromPartial(facts), position: BigInt(position) };
  });
}

function list(app: App) {
  return unary(async (request: ListTokensRequest, { tenant }: Caller) => {
    const fields = fieldsOf(request);
    const pageSize = fields.pageSize();
    const position = fields.position();
    fields.done();
    await app.seen("token-list", position);
    const { pageToken, includeEnded } = request;
    return listTokens(app, tenant, { pageSize, pageToken, includeEnded });
  });
}

function revoke(app: App) {
  return unary(async (request: RevokeTokenRequest, { tenant, actor }: Caller) => {
    const fields = fieldsOf(request);
    const tokenId = fields.id("tokenId");
    const reason = fields.optionalText("reason", { max: 200 });
    fields.done();
    const { state } = await app.load(apiToken, tenant, tokenId);
    if (state.status === "absent") throw notFound("token", tokenId);
    const cause = { tenant, actor, eventSeed: hashId("revoke-token", tenant, tokenId) };
    const input = { tokenId, reason };
    const { position } = await app.handle(apiToken, tokenId, "revoke", input, cause);
    await publishToken(app, tenant, tokenId);
    return { position: BigInt(position) };
  });
}

/** The RPCs. */
export const tokensRpc = (app: App): RpcService => ({
  definition: TokensServiceService,
  implementation: {
    createToken: create(app),
    listTokens: list(app),
    revokeToken: revoke(app),
    getCaller: unary(async (_: object, { tenant, actor, permissions }: Caller) => ({
      ...{ tenant, actor, permissions: [...permissions] },
    })),
  },
});
