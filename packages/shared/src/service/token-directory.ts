/** The directory of API tokens on the broker: hash → claims, written by credentials, read by every service. */
import type { Nats } from "../event-log/nats.ts";
import { current, isGone, write } from "../lease/bucket.ts";
import type { TokenDirectory } from "../rpc/api-token.ts";

const usesKeptS = 400 * 86_400;

/** Asks the bucket's leader, so that what was revoked is not found on a replica that lags. */
export const tokenDirectory = (nats: Nats): TokenDirectory => ({
  async find(hash) {
    const found = await current(nats, hash, "api-tokens");
    return !found || isGone(found) ? undefined : found.body;
  },
  async used(tokenId, at) {
    const body = at.toISOString();
    await write(nats, { bucket: "api-token-uses", key: tokenId, body, ttlSeconds: usesKeptS });
  },
});

/** When a token was used last, within about a minute; undefined when it was not. */
export async function lastUseOf(nats: Nats, tokenId: string): Promise<Date | undefined> {
  const found = await current(nats, tokenId, "api-token-uses");
  return !found || isGone(found) ? undefined : new Date(found.body);
}
