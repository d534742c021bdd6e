/** Signed requests of ACME (RFC 7515, 7638, 8555 section 6.2) with an ES256 account key. */
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type JsonWebKey,
  type KeyObject,
  sign,
} from "node:crypto";
import { failureOf } from "@chom/shared/failure/failure";
import { Secret } from "@chom/shared/secrets/secret";

/** The account's key: the private half inside a closure, the public half as a JWK. */
export type AccountKey = {
  readonly jwk: {
    readonly crv: "P-256";
    readonly kty: "EC";
    readonly x: string;
    readonly y: string;
  };
  /** RFC 7638, base64url of SHA-256. */
  readonly thumbprint: string;
  /** Flattened JWS. `payload` undefined makes a POST-as-GET. */
  signRequest(request: {
    readonly url: string;
    readonly nonce: string;
    /** The account's URL; without it the public key is sent along, as new accounts do. */
    readonly kid?: string;
    readonly payload?: unknown;
  }): string;
};

const base64url = (value: string | Buffer): string => Buffer.from(value).toString("base64url");

/** A new P-256 key as PKCS #8 PEM. */
export function newAccountKey(): Secret {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  return new Secret(privateKey.export({ type: "pkcs8", format: "pem" }).toString());
}

/** Reads a P-256 private key, PEM or JWK. Fails with `acme-account` when it is anything else. */
export function accountKey(secret: Secret): AccountKey {
  const key = readKey(secret);
  const { x, y } = createPublicKey(key).export({ format: "jwk" });
  if (key.asymmetricKeyDetails?.namedCurve !== "prime256v1" || !x || !y) {
    throw failureOf("acme-account", "the account key is not an EC key on P-256");
  }
  const jwk = { crv: "P-256", kty: "EC", x, y } as const; // RFC 7638 wants this order
  return {
    jwk,
    thumbprint: createHash("sha256").update(JSON.stringify(jwk)).digest("base64url"),
    signRequest: ({ url, nonce, kid, payload }) => {
      const header = { alg: "ES256", nonce, url, ...(kid === undefined ? { jwk } : { kid }) };
      const protectedPart = base64url(JSON.stringify(header));
      const payloadPart = payload === undefined ? "" : base64url(JSON.stringify(payload));
      const signature = sign("sha256", Buffer.from(`${protectedPart}.${payloadPart}`), {
        key,
        dsaEncoding: "ieee-p1363",
      });
      return JSON.stringify({
        protected: protectedPart,
        payload: payloadPart,
        signature: base64url(signature),
      });
    },
  };
}

function readKey(secret: Secret): KeyObject {
  const revealed = secret.reveal().trim();
  try {
    return revealed.startsWith("{")
      ? createPrivateKey({ key: JSON.parse(revealed) as JsonWebKey, format: "jwk" })
      : createPrivateKey(revealed);
  } catch {
    // The error of the parser is not kept: it might quote the key.
    throw failureOf(
      "acme-account",
      "the account key cannot be read: it must be a P-256 key, PEM or JWK",
    );
  }
}
