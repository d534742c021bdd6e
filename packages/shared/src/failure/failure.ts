/** One error class for the whole system: a kind the machinery acts on, a stable code, a sentence for people. */
import { type CodePolicy, policyOf } from "./codes.ts";

/** What kind of trouble it is; the table of house rules says what worker and API do with each. */
export type FailureKind =
  | "invalid"
  | "not-found"
  | "rejected"
  | "conflict"
  | "transient"
  | "permanent"
  | "operator"
  | "security"
  | "unknown";

/** A field of a request that was refused: proto field path (`host_keys[0]`) and why, for people. */
export type FieldViolation = { field: string; description: string };

export type FailureOptions = {
  cause?: unknown;
  /** Only with kind `invalid`: which fields, so that a form can point at them. */
  violations?: readonly FieldViolation[];
  /** The other side said when to come back (Retry-After); milliseconds from now. */
  retryAfterMs?: number;
};

/**
 * The one error class. `code` is stable kebab-case and documented in `codes.ts`; `message` is for people,
 * starts lower-case, and is never parsed. Secrets never go into either.
 */
export class Failure extends Error {
  readonly kind: FailureKind;
  readonly code: string;
  readonly violations: readonly FieldViolation[];
  readonly retryAfterMs: number | undefined;

  constructor(kind: FailureKind, code: string, message: string, options: FailureOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "Failure";
    this.kind = kind;
    this.code = code;
    this.violations = options.violations ?? [];
    this.retryAfterMs = options.retryAfterMs;
  }

  /** How long and how often to wait for this code without spending an attempt, if waiting can help. */
  get wait(): CodePolicy["wait"] {
    return policyOf(this.code)?.wait;
  }
}

const maker =
  (kind: FailureKind) =>
  (code: string, message: string, options?: FailureOptions): Failure =>
    new Failure(kind, code, message, options);

/** The world may be better later: retried with backoff while tries last. */
export const transient = maker("transient");
/** Retrying cannot help: recorded as failed now. */
export const permanent = maker("permanent");
/** The aggregate's state forbids it. */
export const rejected = maker("rejected");
/** Someone appended first: reload and decide again. */
export const conflict = maker("conflict");
/** A person must act: the job is parked until then. */
export const operator = maker("operator");
/** Stop, alert, never retried by itself. */
export const security = maker("security");
/** The effect may or may not have happened: reconcile first, then decide. */
export const unknownOutcome = maker("unknown");

/** The thing named is absent, or belongs to another tenant: the two are never told apart. */
export const notFound = (noun: string, id: string): Failure =>
  new Failure("not-found", `${noun}-not-found`, `no ${noun} "${id}"`);

/** The request makes no sense; names every refused field. */
export const invalid = (violations: readonly FieldViolation[]): Failure =>
  new Failure(
    "invalid",
    "invalid-request",
    violations.map(({ field, description }) => `${field}: ${description}`).join("; "),
    { violations },
  );

/** Makes the failure that the table of `codes.ts` gives for this code. Unknown codes are `unexpected-code`, transient. */
export function failureOf(code: string, message: string, options?: FailureOptions): Failure {
  const policy = policyOf(code);
  return policy
    ? new Failure(policy.kind, code, message, options)
    : new Failure("transient", code, message, options);
}

/**
 * Finds the Failure in an error or in its chain of causes, so that wrapping adds context and loses nothing.
 * Anything else is a bug: it counts as transient (`unexpected`), so that a mended deploy heals it.
 */
export function classify(error: unknown): Failure {
  for (let at = error, depth = 0; at instanceof Error && depth < 16; at = at.cause, depth += 1) {
    if (at instanceof Failure) return at;
  }
  const message = error instanceof Error ? error.message : String(error);
  return new Failure("transient", "unexpected", message, { cause: error });
}

/** True when the same again may end otherwise. */
export const isPassing = ({ kind }: Pick<Failure, "kind">): boolean =>
  kind === "transient" || kind === "unknown";
