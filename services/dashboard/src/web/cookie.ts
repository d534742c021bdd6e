/** The session: the operator's own token and a secret against forged forms, sealed into one cookie. */
import { createCipheriv, createDecipheriv, createHash, randomBytes } from "node:crypto";
import { Secret } from "@chom/shared/secrets/secret";

export type Session = {
  readonly token: Secret;
  /** What a form must carry. */
  readonly formSecret: string;
  /** Milliseconds since 1970. */
  readonly expiresAt: number;
};

/** The prefix makes browsers refuse one that is not Secure, not of this host, or not of the whole of it. */
export const cookieName = "__Host-chom";
export const sessionMaxMs = 12 * 3_600_000;
/** Browsers keep 4,096 bytes of a cookie. */
export const tokenMax = 2_600;

const algorithm = "aes-256-gcm";
const context = Buffer.from("chom dashboard session 1");
const nonceBytes = 12;
const tagBytes = 16;

const keyOf = (secret: Secret): Buffer =>
  createHash("sha256").update("session key\n").update(secret.reveal()).digest();

/** Seals with the first secret and opens with any: the others are those that were the first before. */
export function sessionCookies(secrets: readonly Secret[]) {
  const keys = secrets.map(keyOf);
  const [sealing] = keys;
  if (!sealing) throw new TypeError("no session key");
  function openWith(key: Buffer, bytes: Buffer): string | undefined {
    try {
      const opening = createDecipheriv(algorithm, key, bytes.subarray(0, nonceBytes));
      opening.setAAD(context);
      opening.setAuthTag(bytes.subarray(-tagBytes));
      const plain = opening.update(bytes.subarray(nonceBytes, -tagBytes));
      return Buffer.concat([plain, opening.final()]).toString();
    } catch {
      return undefined;
    }
  }
  return {
    seal({ token, formSecret, expiresAt }: Session): string {
      const nonce = randomBytes(nonceBytes);
      const sealer = createCipheriv(algorithm, sealing, nonce);
      sealer.setAAD(context);
      const plain = JSON.stringify([token.reveal(), formSecret, expiresAt]);
      const sealed = Buffer.concat([sealer.update(plain), sealer.final()]);
      return Buffer.concat([nonce, sealed, sealer.getAuthTag()]).toString("base64url");
    },
    /** Undefined for what is not ours, was changed, or has expired. */
    open(text: string, now: number): Session | undefined {
      const bytes = Buffer.from(text, "base64url");
      if (bytes.length <= nonceBytes + tagBytes) return undefined;
      for (const key of keys) {
        const plain = openWith(key, bytes);
        if (plain === undefined) continue;
        const [token, formSecret, expiresAt] = JSON.parse(plain) as [string, string, number];
        return expiresAt > now ? { token: new Secret(token), formSecret, expiresAt } : undefined;
      }
      return undefined;
    },
  };
}

/** The value of a cookie in a header; undefined when it is not there exactly once. */
export function cookieIn(header: string | undefined): string | undefined {
  const found = (header ?? "")
    .split(";")
    .map((pair) => pair.trim())
    .filter((pair) => pair.startsWith(`${cookieName}=`));
  return found.length === 1 ? found[0]?.slice(cookieName.length + 1) : undefined;
}

const attributes = "Path=/; Secure; HttpOnly; SameSite=Strict";

export const settingCookie = (value: string, maxAgeMs: number): string =>
  `${cookieName}=${value}; ${attributes}; Max-Age=${Math.floor(maxAgeMs / 1_000)}`;
