/** API tokens as they are listed. */
import { ApiToken } from "@chom/proto/chom/credentials/v1/tokens";
import { projection } from "@chom/shared/projection/projection";
import { decodeToken, encodeToken, pageOf } from "@chom/shared/rpc/page-token";
import type { App } from "@chom/shared/service/app";
import { lastUseOf } from "@chom/shared/service/token-directory";
import { and, desc, eq, gt, isNull, lt, or } from "drizzle-orm";
import { apiTokens } from "./tables.ts";
import { tokenEvents } from "./token.ts";

/** Rows of `api_tokens`. */
export const tokenList = projection({
  name: "token-list",
  source: { stream: "EVENTS", aggregate: "api-token" },
  rebuild: { tables: [apiTokens] },
  from: tokenEvents,
  on: {
    ApiTokenCreated: ({ name, role, permissions, expiresAt }, meta, tx) =>
      tx
        .insert(apiTokens)
        .values({
          ...{ tenant: meta.tenant, tokenId: meta.id, name, role, permissions },
          ...{ createdBy: meta.actor, createdAt: meta.time, expiresAt: expiresAt ?? meta.time },
        })
        .onConflictDoNothing(),
    ApiTokenRevoked: (_, { tenant, id, time, actor }, tx) =>
      tx
        .update(apiTokens)
        .set({ revokedAt: time, revokedBy: actor })
        .where(and(eq(apiTokens.tenant, tenant), eq(apiTokens.tokenId, id))),
  },
});

type Query = { pageSize: number; pageToken: string; includeEnded: boolean };

/** A page of the tenant's tokens, newest first. */
export async function listTokens(
  { db, sealer, nats, now }: Pick<App, "db" | "sealer" | "nats" | "now">,
  tenant: string,
  { pageSize, pageToken, includeEnded }: Query,
): Promise<{ tokens: ApiToken[]; nextPageToken: string }> {
  const scope = { tenant, list: "tokens", filter: { includeEnded } };
  const after = decodeToken(sealer, scope, pageToken);
  const { createdAt, tokenId, expiresAt, revokedAt } = apiTokens;
  const older =
    after &&
    or(lt(createdAt, after.createdAt), and(eq(createdAt, after.createdAt), lt(tokenId, after.id)));
  const living = includeEnded ? undefined : and(isNull(revokedAt), gt(expiresAt, now()));
  const found = await db
    .select()
    .from(apiTokens)
    .where(and(eq(apiTokens.tenant, tenant), living, older))
    .orderBy(desc(createdAt), desc(tokenId))
    .limit(pageSize + 1);
  const { rows, nextPageToken } = pageOf(found, pageSize, (last) =>
    encodeToken(sealer, scope, { createdAt: last.createdAt, id: last.tokenId }),
  );
  const tokens = rows.map(async (row) =>
    ApiToken.fromPartial({
      ...row,
      permissions: [...row.permissions],
      revokedAt: row.revokedAt ?? undefined,
      lastUsedAt: await lastUseOf(nats, row.tokenId),
    }),
  );
  return { tokens: await Promise.all(tokens), nextPageToken };
}
