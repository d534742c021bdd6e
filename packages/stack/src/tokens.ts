/** Makes tokens for callers of the embedded stack, and the key set that the services check them with. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { exportJWK, generateKeyPair, SignJWT } from "jose";

export type TokenIssuer = {
  /** The JWKS file for `CHOM_TOKEN_KEYS_FILE`. */
  keysFile: string;
  /** A token for one tenant; `permissions` default to everything, life to 12 h. */
  issue(tenant: string, options?: TokenOptions): Promise<string>;
};

export type TokenOptions = {
  actor?: string;
  permissions?: readonly string[];
  lifetimeSeconds?: number;
  audience?: string;
};

/**
 * Makes an issuer with a fresh EdDSA key, whose public half is written into `folder`. The default name of the key says
 * that it is none for production, which refuses it.
 */
export async function createTokenIssuer(folder: string, keyId = "stack"): Promise<TokenIssuer> {
  const { publicKey, privateKey } = await generateKeyPair("EdDSA", { crv: "Ed25519" });
  const jwk = { ...(await exportJWK(publicKey)), kid: keyId, alg: "EdDSA", use: "sig" };
  const keysFile = join(folder, "token-keys.json");
  writeFileSync(keysFile, JSON.stringify({ keys: [jwk] }), { mode: 0o600 });
  return {
    keysFile,
    issue: (tenant, options = {}) => {
      const nowSeconds = Math.floor(Date.now() / 1_000);
      return new SignJWT({ tenant, permissions: options.permissions ?? ["*"] })
        .setProtectedHeader({ alg: "EdDSA", kid: keyId })
        .setSubject(options.actor ?? "demo")
        .setAudience(options.audience ?? "chom")
        .setIssuedAt(nowSeconds)
        .setExpirationTime(nowSeconds + (options.lifetimeSeconds ?? 12 * 3_600))
        .sign(privateKey);
    },
  };
}
