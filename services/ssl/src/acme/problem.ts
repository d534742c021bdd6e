/** Problem documents of a CA (RFC 8555 section 6.7), turned into Failures that keep what the CA said. */
import { type Failure, failureOf } from "@chom/shared/failure/failure";
import { policyOf } from "@chom/shared/failure/codes";

/** What a CA answered instead of what was asked; `type` is the last part of the URN. */
export type Problem = {
  readonly type: string;
  readonly detail: string;
  /** HTTP status; 0 when the document came inside an order or a challenge. */
  readonly status: number;
  readonly subproblems: readonly { type: string; detail: string; identifier: string }[];
};

/** Whether the document answers a request of ours or says why a challenge or an order became invalid. */
export type ProblemPlace = "request" | "validation";

const messageChars = 1_000;
const detailChars = 400;
const maxSubproblems = 20;
const maxRetryAfterMs = 30 * 24 * 3_600_000;
const urn = "urn:ietf:params:acme:error:";

const codes: Readonly<Record<string, string>> = {
  accountDoesNotExist: "acme-account",
  badCSR: "acme-malformed",
  badNonce: "acme-bad-nonce",
  badPublicKey: "acme-account",
  badSignatureAlgorithm: "acme-account",
  caa: "caa-forbids",
  connection: "acme-connection",
  dns: "acme-dns",
  externalAccountRequired: "acme-account",
  incorrectResponse: "acme-unauthorized",
  invalidContact: "acme-account",
  invalidProfile: "acme-malformed",
  malformed: "acme-malformed",
  orderNotReady: "acme-server",
  rateLimited: "acme-rate-limited",
  rejectedIdentifier: "acme-rejected-identifier",
  serverInternal: "acme-server",
  tls: "acme-connection",
  unsupportedContact: "acme-account",
  unsupportedIdentifier: "acme-rejected-identifier",
  userActionRequired: "acme-account",
};

/** Text of a stranger made safe to print: control and direction characters escaped, cut at `limit` characters. */
export function printable(text: string, limit: number): string {
  // One more than fits, so that a cut shows; escaping only makes texts longer.
  const shown = text
    .slice(0, limit + 1)
    .replace(
      /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu,
      (char) => `\\u{${char.codePointAt(0)?.toString(16)}}`,
    );
  // Cutting may part a surrogate pair: what is left of it is replaced.
  return shown.length <= limit ? shown : `${shown.slice(0, limit - 1).toWellFormed()}…`;
}

const record = (value: unknown): Record<string, unknown> =>
  typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
const text = (value: unknown): string => (typeof value === "string" ? value : "");
const shortType = (value: unknown): string => {
  const type = text(value);
  return printable(type.startsWith(urn) ? type.slice(urn.length) : type, 100);
};

/** Reads a problem document; anything that is none becomes one with the type "" and no detail. */
export function readProblem(json: unknown, status: number): Problem {
  const { type, detail, subproblems } = record(json);
  const list = Array.isArray(subproblems) ? subproblems.slice(0, maxSubproblems) : [];
  return {
    type: shortType(type),
    detail: printable(text(detail), detailChars),
    status,
    subproblems: list.map(record).map((sub) => ({
      type: shortType(sub["type"]),
      detail: printable(text(sub["detail"]), detailChars),
      identifier: printable(text(record(sub["identifier"])["value"]), 253),
    })),
  };
}

/** What ends soonest decides a compound problem: a reason that waiting cannot mend beats one that it can. */
function codeOfCompound(problem: Problem, place: ProblemPlace): string | undefined {
  const found = problem.subproblems
    .map(({ type }) => codeOfType(type, place))
    .filter((code) => code !== undefined);
  const rank = (code: string) => {
    const policy = policyOf(code);
    return policy?.wait ? 2 : policy?.kind === "transient" ? 1 : 0;
  };
  return found.toSorted((a, b) => rank(a) - rank(b))[0];
}

function codeOfType(type: string, place: ProblemPlace): string | undefined {
  // The CA says "unauthorized" of a challenge that holds something else, and of an account that was closed.
  if (type === "unauthorized") return place === "request" ? "acme-account" : "acme-unauthorized";
  return Object.hasOwn(codes, type) ? codes[type] : undefined;
}

function codeOf(problem: Problem, place: ProblemPlace): string {
  const byType =
    problem.type === "compound" ? codeOfCompound(problem, place) : codeOfType(problem.type, place);
  if (byType) return byType;
  if (problem.status === 429) return "acme-rate-limited";
  if (problem.status >= 400 && problem.status < 500) return "acme-malformed";
  return "acme-server";
}

/**
 * The Failure that a problem document means; its message keeps type, detail and subproblems (at most 1,000
 * characters, control characters escaped) and its `cause` is the document, for `problemOf`.
 */
export function problemFailure(
  problem: Problem,
  place: ProblemPlace,
  retryAfterMs?: number,
): Failure {
  const said = [
    `${problem.type || `status ${problem.status}`}${problem.detail === "" ? "" : `: ${problem.detail}`}`,
    ...problem.subproblems.map((sub) => `${sub.identifier || "?"}: ${sub.type}: ${sub.detail}`),
  ].join("; ");
  return failureOf(codeOf(problem, place), printable(`the CA says ${said}`, messageChars), {
    cause: problem,
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
  });
}

/** The problem document a Failure was made from, if it was. */
export function problemOf(failure: Failure): Problem | undefined {
  const cause = record(failure.cause);
  return "subproblems" in cause && "status" in cause ? (failure.cause as Problem) : undefined;
}

/** Retry-After as milliseconds from now: seconds or an HTTP date (RFC 9110 10.2.3); 30 days at most, undefined if it is neither. */
export function readRetryAfter(value: string | undefined, now: Date): number | undefined {
  if (value === undefined || value.length > 64) return undefined;
  const at = /^\d+$/.test(value.trim()) ? now.getTime() + Number(value) * 1_000 : Date.parse(value);
  if (Number.isNaN(at)) return undefined;
  return Math.min(Math.max(0, at - now.getTime()), maxRetryAfterMs);
}
