/** API tokens: what one looks like, and how every service knows whose it is without ever storing it. */
import { createHash } from "node:crypto";
import { isId } from "../aggregate/id.ts";
import { classify, security } from "../failure/failure.ts";
import { type Role, roles } from "./roles.ts";
import type { Identity } from "./unary.ts";

const prefix = "chom_";
const randomBytesCount = 32;
const pattern = /^chom_[\w-]{43}[0-9a-f]{8}$/;

const checksumOf = (body: string): string =>
  createHash("sha256").update(`checksum of ${body}`).digest("hex").slice(0, 8);

/**
 * A new token: `chom_`, 256 random bits in base64url, and a checksum of 8 hex digits, so that scanners of leaked
 * secrets find it and a mistyped one is told apart without asking anybody.
 */
export function makeApiToken(random: (bytes: number) => Buffer): string {
  const body = `${prefix}${random(randomBytesCount).toString("base64url")}`;
  return `${body}${checksumOf(body)}`;
}

/** True for a text of the form of a token, with the right checksum. */
export const isApiToken = (text: string): boolean =>
  pattern.test(text) && checksumOf(text.slice(0, -8)) === text.slice(-8);

/** Hex of the SHA-256 under which a token is known. */
export const hashOfToken = (token: string): string =>
  createHash("sha256").update(token).digest("hex");

/** What a token may do, as every service reads it: key is the token's hash. */
export type TokenClaims = {
  readonly tokenId: string;
  readonly tenant: string;
  readonly role: Role | "";
  readonly permissions: readonly string[];
  /** Milliseconds since 1970. */
  readonly expiresAt: number;
};

export type TokenDirectory = {
  /** The claims of a hash as JSON; undefined when nobody has it, or it was revoked. */
  find(hash: string): Promise<string | undefined>;
  /** Notes that a token was used; may be lost. */
  used(tokenId: string, at: Date): Promise<void>;
};

/** For so long a service believes what it has read: a revoked token is refused everywhere after that. */
export const tokenCacheMs = 2_000;
const usedEveryMs = 60_000;
const rememberedMax = 10_000;

const refused = () => security("unauthenticated", "the API token is not known, revoked or expired");

function claimsOf(text: string | undefined): TokenClaims | undefined {
  if (text === undefined) return undefined;
  const claims = JSON.parse(text) as TokenClaims;
  return isId(claims.tokenId) && isId(claims.tenant) ? claims : undefined;
}

const permissionsOf = ({ role, permissions }: TokenClaims): readonly string[] => [
  ...(role === "" ? [] : (roles[role] ?? [])),
  ...permissions,
];

/** Keeps a map from growing without bound: what is forgotten is only asked again. */
function remember<T>(map: Map<string, T>, key: string, value: T): void {
  if (map.size >= rememberedMax) map.clear();
  map.set(key, value);
}

/**
 * Verifies API tokens against the directory. Failure `security` "unauthenticated" for what is no living token,
 * `transient` "log-unavailable" when the directory cannot be asked: nothing is let in meanwhile.
 */
export function apiTokenVerifier(directory: TokenDirectory, now: () => Date) {
  const known = new Map<
    string,
    { readonly until: number; readonly claims: TokenClaims | undefined }
  >();
  const told = new Map<string, number>();
  function tell(tokenId: string, at: Date): void {
    if (at.getTime() - (told.get(tokenId) ?? 0) < usedEveryMs) return;
    remember(told, tokenId, at.getTime());
    // Told again at the next use.
    directory.used(tokenId, at).catch((error: unknown) => {
      if (classify(error).kind !== "permanent") told.delete(tokenId);
    });
  }
  return async (token: string): Promise<Identity> => {
    if (!isApiToken(token)) throw refused();
    const hash = hashOfToken(token);
    const at = now();
    let found = known.get(hash);
    if (!found || found.until <= at.getTime()) {
      const claims = claimsOf(await directory.find(hash));
      found = { until: at.getTime() + tokenCacheMs, claims };
      remember(known, hash, found);
    }
    const { claims } = found;
    if (!claims || claims.expiresAt <= at.getTime()) throw refused();
    tell(claims.tokenId, at);
    const { tenant, tokenId } = claims;
    const permissions = permissionsOf(claims);
    return { tenant, actor: `token:${tokenId}`, permissions, service: undefined, traceparent: "" };
  };
}
