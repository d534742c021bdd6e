/** Who calls: a mutual-TLS identity of a service, or a signed token; and whether the method is permitted to them. */
import { createLocalJWKSet, type JSONWebKeySet, type JWTPayload, jwtVerify } from "jose";
import { isId } from "../aggregate/id.ts";
import { type Failure, permanent, security } from "../failure/failure.ts";
import { childTraceparent } from "../telemetry/trace.ts";
import { deniedTo } from "./denied.ts";
import { grants, isRole, roles } from "./roles.ts";
import type { Identity, ServerCall } from "./unary.ts";

export const audience = "chom";
/** Signatures that a token may carry: public-key ones only, so that no verifier can mint. */
const algorithms = ["EdDSA", "ES256"];
const clockToleranceSeconds = 5;
const longestTokenSeconds = 24 * 3_600;
const longestTenant = 32;

export type TokenVerifier = (token: string) => Promise<Identity>;

const unauthenticated = (message: string, cause?: unknown): Failure =>
  security("unauthenticated", message, { cause });

/** Checks a JWKS before use: at least one key, public keys of the allowed kinds only, each with its own kid. */
export function parseTokenKeys(text: string): JSONWebKeySet {
  let parsed: Partial<JSONWebKeySet>;
  try {
    parsed = JSON.parse(text);
  } catch (cause) {
    throw permanent("invalid-config", "the token key file is not JSON", { cause });
  }
  const { keys } = parsed;
  if (!Array.isArray(keys) || keys.length === 0) {
    throw permanent("invalid-config", "the token key file holds no keys");
  }
  for (const key of keys) {
    if ("d" in key || "k" in key) {
      throw permanent("invalid-config", "the token key file holds a private or shared key");
    }
    if (!(key.crv === "Ed25519" || key.crv === "P-256")) {
      throw permanent("invalid-config", "token keys must be Ed25519 or P-256");
    }
  }
  return { keys };
}

const texts = (value: unknown): readonly string[] =>
  Array.isArray(value) ? value.filter((item) => typeof item === "string") : [];

function identityOf(claims: JWTPayload): Identity {
  const { sub = "", tenant, permissions, role, exp = 0, iat } = claims;
  if (!/^[\x21-\x7e]{1,128}$/.test(sub)) throw unauthenticated("the token names no subject");
  if (typeof tenant !== "string" || !isId(tenant) || tenant.length > longestTenant) {
    throw unauthenticated("the token names no tenant");
  }
  if (exp - (iat ?? Math.floor(Date.now() / 1_000)) > longestTokenSeconds) {
    throw unauthenticated("the token is valid for longer than 24 hours");
  }
  if (role !== undefined && !isRole(role)) throw unauthenticated("the token names no known role");
  return {
    tenant,
    actor: sub,
    permissions: [...(role === undefined ? [] : roles[role]), ...texts(permissions)],
    service: undefined,
    traceparent: "",
  };
}

/** Verifies tokens against a key set: signature, audience `chom`, expiry, subject, tenant. */
export function tokenVerifier(keys: JSONWebKeySet): TokenVerifier {
  const keySet = createLocalJWKSet(keys);
  return async (token) => {
    if (token.length > 8_192) throw unauthenticated("the token is too long");
    const verified = await jwtVerify(token, keySet, {
      algorithms,
      audience,
      clockTolerance: clockToleranceSeconds,
      requiredClaims: ["exp", "sub", "tenant"],
    }).catch((cause: unknown) => {
      // Which check failed helps the honest caller and tells a forger nothing that the code does not show.
      const reason = cause instanceof Error && "code" in cause ? ` (${String(cause.code)})` : "";
      throw unauthenticated(`the token is not valid${reason}`, cause);
    });
    return identityOf(verified.payload);
  };
}

/** API tokens and signed ones, told apart by their form. Where no directory is given, only signed ones are taken. */
export const anyToken =
  (signed: TokenVerifier, api: TokenVerifier | undefined): TokenVerifier =>
  (token) =>
    api && !token.includes(".") ? api(token) : signed(token);

const spiffe = /(?:^|, )URI:spiffe:\/\/chom\/([a-z][a-z0-9-]{0,31})(?=,|$)/g;

/** The service named by a verified client certificate: exactly one SAN `URI:spiffe://chom/<service>`. */
export function serviceOf(call: ServerCall): string | undefined {
  const names = call.getAuthContext().sslPeerCertificate?.subjectaltname ?? "";
  const found = [...names.matchAll(spiffe)];
  return found.length === 1 ? found[0]?.[1] : undefined;
}

async function identify(call: ServerCall, verify: TokenVerifier): Promise<Identity> {
  const [header, ...more] = call.metadata.get("authorization").map(String);
  const service = serviceOf(call);
  if (header === undefined) {
    if (service === undefined) throw unauthenticated("the call carries no token");
    return { tenant: "", actor: service, permissions: [], service, traceparent: "" };
  }
  const [, token] = /^bearer ([\w-]+\.[\w-]+\.[\w-]+|chom_[\w-]{51})$/i.exec(header) ?? [];
  if (!token || more.length > 0) {
    throw unauthenticated('the authorization header is not one "Bearer <token>"');
  }
  return { ...(await verify(token)), service };
}

/**
 * Authenticates a call and checks the permission its method declares: `public` needs nothing, `service` the
 * mutual-TLS identity of a service, any other a token of a tenant that grants it.
 */
export const authenticator =
  (options: {
    verify: TokenVerifier;
    permissions: Readonly<Record<string, string>>;
    random: (bytes: number) => Buffer;
  }) =>
  async (call: ServerCall, path: string): Promise<Identity> => {
    const wanted = options.permissions[path];
    const traceparent = childTraceparent(
      String(call.metadata.get("traceparent")[0] ?? ""),
      options.random,
    );
    if (wanted === "public") {
      return { tenant: "", actor: "", permissions: [], service: undefined, traceparent };
    }
    const identity = await identify(call, options.verify);
    const refusal = (message: string) => deniedTo(security("not-permitted", message), identity);
    if (wanted === undefined) throw refusal("the method declares no permission");
    if (wanted === "service") {
      if (identity.service !== undefined) return { ...identity, traceparent };
      throw refusal("only a service of CHOM may call this");
    }
    if (identity.tenant === "") throw refusal("the call names no tenant");
    if (!grants(identity.permissions, wanted)) {
      throw refusal(`needs the permission ${wanted}`);
    }
    return { ...identity, traceparent };
  };
