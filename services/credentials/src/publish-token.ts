/** Putting what a token may do where every service reads it, and taking it away. */
import { transient } from "@chom/shared/failure/failure";
import { current, isGone, write } from "@chom/shared/lease/bucket";
import { reactor } from "@chom/shared/reactor/reactor";
import { isRole } from "@chom/shared/rpc/roles";
import type { TokenClaims } from "@chom/shared/rpc/api-token";
import type { App } from "@chom/shared/service/app";
import { apiToken, type Token, tokenEvents } from "./token.ts";

type Parts = Pick<App, "nats" | "load" | "now">;

const bucket = "api-tokens";
const triesMax = 5;
/** A marker of what is gone need not stay. */
const goneS = 3_600;

function claimsOf(tenant: string, token: Token): string {
  const { tokenId, role, permissions, expiresAt } = token;
  const claims: TokenClaims = {
    ...{ tokenId, tenant, permissions },
    role: isRole(role) ? role : "",
    expiresAt: expiresAt.getTime(),
  };
  return JSON.stringify(claims);
}

/**
 * Makes the directory say what the log says of this token. The log is read after the entry's revision, which the
 * write expects: whoever is late writes nothing old.
 */
export async function publishToken(app: Parts, tenant: string, tokenId: string): Promise<void> {
  const key = (await app.load(apiToken, tenant, tokenId)).state.sha256;
  if (key === "") return;
  for (let tries = 1; tries <= triesMax; tries += 1) {
    const found = await current(app.nats, key, bucket);
    const { state } = await app.load(apiToken, tenant, tokenId);
    const lifeS = Math.ceil((state.expiresAt.getTime() - app.now().getTime()) / 1_000);
    const isLiving = state.status === "active" && lifeS > 0;
    const body = isLiving ? claimsOf(tenant, state) : "";
    const there = !found || isGone(found) ? "" : found.body;
    if (there === body) return;
    const expected = found?.sequence ?? 0;
    const change = isLiving ? { ttlSeconds: lifeS } : { remove: true, ttlSeconds: goneS };
    if ((await write(app.nats, { bucket, key, body, expected, ...change })) !== "moved") return;
  }
  throw transient("log-unavailable", `the entry of token ${tokenId} changes all the time`);
}

/** What a call that was cut off has not published yet, and everything again into an empty directory. */
export const publishTokens = (app: Parts) => {
  const publish = async (_: unknown, { tenant, id }: { tenant: string; id: string }) => {
    await publishToken(app, tenant, id);
    return [];
  };
  return reactor({
    name: "publish-tokens",
    aggregate: "api-token",
    from: tokenEvents,
    on: { ApiTokenCreated: publish, ApiTokenRevoked: publish },
  });
};
