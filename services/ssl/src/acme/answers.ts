/** What a CA answers, checked before anything believes it: statuses, URLs of its own origin, tokens fit for a file name. */
import { failureOf } from "@chom/shared/failure/failure";
import { canonicalName } from "./csr.ts";
import { type Problem, printable, readProblem } from "./problem.ts";

export type Directory = {
  readonly newNonce: string;
  readonly newAccount: string;
  readonly newOrder: string;
  /** Absent when the CA has no ARI. */
  readonly renewalInfo: string | null;
  /** Names of the CA in CAA records. */
  readonly caaIdentities: readonly string[];
  readonly profiles: readonly string[];
};

const orderStatuses = ["pending", "ready", "processing", "valid", "invalid"] as const;
type OrderStatus = (typeof orderStatuses)[number];

export type Order = {
  /** Keep it: the order is resumed by it. */
  readonly url: string;
  readonly status: OrderStatus;
  readonly names: readonly string[];
  readonly authorizationUrls: readonly string[];
  readonly finalizeUrl: string;
  /** Present once the status is `valid`. */
  readonly certificateUrl: string | null;
  readonly expires: Date | null;
  readonly error: Problem | null;
  /** When to look again, if the CA said so. */
  readonly retryAfterMs: number | undefined;
};

const authorizationStatuses = [
  "pending",
  "valid",
  "invalid",
  "deactivated",
  "expired",
  "revoked",
] as const;
type AuthorizationStatus = (typeof authorizationStatuses)[number];

/** The HTTP-01 challenge of an authorisation. */
export type Challenge = {
  readonly url: string;
  /** 22 to 128 characters of base64url: a harmless file name. */
  readonly token: string;
  readonly status: "pending" | "processing" | "valid" | "invalid";
  readonly error: Problem | null;
};

export type Authorization = {
  readonly url: string;
  readonly name: string;
  readonly status: AuthorizationStatus;
  readonly http01: Challenge | null;
  readonly retryAfterMs: number | undefined;
};

const maxUrlChars = 2_048;
const maxNames = 100;
// 128 bits at least (RFC 8555 section 8.1), and no longer than any file name may be.
const tokenPattern = /^[A-Za-z0-9_-]{22,128}$/;

type Json = Record<string, unknown>;

/** The failure of an answer that breaks the protocol: code `acme-malformed`. */
export const broken = (what: string) =>
  failureOf("acme-malformed", `the CA's answer is not usable: ${printable(what, 300)}`);

const object = (value: unknown, what: string): Json => {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw broken(`${what} is no object`);
  }
  return value as Json;
};
const list = (value: unknown, what: string): readonly unknown[] => {
  if (!Array.isArray(value) || value.length > maxNames)
    throw broken(`${what} is no list of at most ${maxNames}`);
  return value;
};
const strings = (value: unknown): string[] =>
  Array.isArray(value) ? value.filter((item) => typeof item === "string").slice(0, maxNames) : [];

function oneOf<Status extends string>(
  value: unknown,
  known: readonly Status[],
  what: string,
): Status {
  const found = known.find((status) => status === value);
  if (found === undefined) throw broken(`${what} has the status ${JSON.stringify(value)}`);
  return found;
}

/** The URL itself when it has the directory's origin and nothing odd; otherwise `acme-malformed`. */
export function ownUrl(value: unknown, origin: string, what: string): string {
  if (typeof value !== "string" || value.length > maxUrlChars || !URL.canParse(value)) {
    throw broken(`${what} is no URL`);
  }
  const url = new URL(value);
  if (url.origin !== origin || url.username !== "" || url.password !== "") {
    throw broken(`${what} leads away from the CA, to ${url.origin}`);
  }
  return url.href;
}

/** Reads a directory (section 7.1.1). */
export function readDirectory(json: unknown, origin: string): Directory {
  const found = object(json, "the directory");
  const meta =
    typeof found["meta"] === "object" && found["meta"] !== null ? (found["meta"] as Json) : {};
  const profiles = meta["profiles"];
  return {
    newNonce: ownUrl(found["newNonce"], origin, "newNonce"),
    newAccount: ownUrl(found["newAccount"], origin, "newAccount"),
    newOrder: ownUrl(found["newOrder"], origin, "newOrder"),
    renewalInfo:
      found["renewalInfo"] === undefined
        ? null
        : ownUrl(found["renewalInfo"], origin, "renewalInfo"),
    caaIdentities: strings(meta["caaIdentities"]),
    profiles: typeof profiles === "object" && profiles !== null ? Object.keys(profiles) : [],
  };
}

function readName(value: unknown): string {
  const { type, value: name } = object(value, "an identifier");
  if ((type !== "dns" && type !== "ip") || typeof name !== "string") {
    throw broken("an identifier is neither a DNS name nor an address");
  }
  return canonicalName(name);
}

/** Reads an order (section 7.1.3) found at this URL. */
export function readOrder(
  json: unknown,
  at: { url: string; origin: string; retryAfterMs: number | undefined },
): Order {
  const found = object(json, "the order");
  const { certificate, expires, error } = found;
  const authorizations = list(found["authorizations"], "authorizations");
  return {
    url: ownUrl(at.url, at.origin, "the order's address"),
    status: oneOf(found["status"], orderStatuses, "the order"),
    names: list(found["identifiers"], "identifiers").map(readName),
    authorizationUrls: authorizations.map((url) => ownUrl(url, at.origin, "an authorisation")),
    finalizeUrl: ownUrl(found["finalize"], at.origin, "finalize"),
    certificateUrl:
      certificate === undefined
        ? null
        : ownUrl(certificate, at.origin, "the certificate's address"),
    expires:
      typeof expires === "string" && !Number.isNaN(Date.parse(expires)) ? new Date(expires) : null,
    error: error === undefined || error === null ? null : readProblem(error, 0),
    retryAfterMs: at.retryAfterMs,
  };
}

/** Reads a challenge; a token that is not 22 to 128 characters of base64url is `acme-malformed`. */
export function readChallenge(json: unknown, origin: string): Challenge {
  const { url, token, status, error } = object(json, "a challenge");
  if (typeof token !== "string" || !tokenPattern.test(token)) {
    throw broken(`the challenge's token ${JSON.stringify(token)?.slice(0, 80)} is no token`);
  }
  return {
    url: ownUrl(url, origin, "a challenge"),
    token,
    status: oneOf(status, ["pending", "processing", "valid", "invalid"], "the challenge"),
    error: error === undefined || error === null ? null : readProblem(error, 0),
  };
}

/** Reads an authorisation (section 7.1.4) found at this URL. */
export function readAuthorization(
  json: unknown,
  at: { url: string; origin: string; retryAfterMs: number | undefined },
): Authorization {
  const found = object(json, "the authorisation");
  const http01 = list(found["challenges"], "challenges").find(
    (challenge) => (challenge as Json | null)?.["type"] === "http-01",
  );
  return {
    url: at.url,
    name: readName(found["identifier"]),
    status: oneOf(found["status"], authorizationStatuses, "the authorisation"),
    http01: http01 === undefined ? null : readChallenge(http01, at.origin),
    retryAfterMs: at.retryAfterMs,
  };
}
