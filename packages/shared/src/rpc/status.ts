/** Failures on the wire: a gRPC code, a sentence, and google.rpc details; and back into a Failure at the caller. */
import { Metadata, type ServiceError, status, type StatusObject } from "@grpc/grpc-js";
import { BadRequest, ErrorInfo, RetryInfo } from "@chom/proto/google/rpc/error_details";
import { Status } from "@chom/proto/google/rpc/status";
import { Failure, type FailureKind } from "../failure/failure.ts";
import { scrubLine } from "../secrets/scrub.ts";

const detailsKey = "grpc-status-details-bin";
const typePrefix = "type.googleapis.com/google.rpc.";

const byKind: Readonly<Record<FailureKind, status>> = {
  invalid: status.INVALID_ARGUMENT,
  "not-found": status.NOT_FOUND,
  rejected: status.FAILED_PRECONDITION,
  conflict: status.ABORTED,
  transient: status.UNAVAILABLE,
  permanent: status.INTERNAL,
  operator: status.FAILED_PRECONDITION,
  security: status.PERMISSION_DENIED,
  unknown: status.UNKNOWN,
};

/** Codes whose gRPC code says more than that of their kind. */
const byCode: Readonly<Record<string, status>> = {
  "already-exists": status.ALREADY_EXISTS,
  unauthenticated: status.UNAUTHENTICATED,
  "deadline-exceeded": status.DEADLINE_EXCEEDED,
  "call-cancelled": status.CANCELLED,
  "too-many-requests": status.RESOURCE_EXHAUSTED,
  unexpected: status.INTERNAL,
};

const detail = (name: string, value: Uint8Array) => ({
  typeUrl: `${typePrefix}${name}`,
  value: Buffer.from(value),
});

/**
 * The gRPC status of a failure. Details: ErrorInfo (reason = the code, domain `chom`, metadata.kind), BadRequest for
 * refused fields, RetryInfo when the failure says when to come back. The message is scrubbed.
 */
export function statusOf(failure: Failure): StatusObject {
  const code = byCode[failure.code] ?? byKind[failure.kind];
  const message = scrubLine(failure.message, 2_000);
  const info = {
    reason: failure.code,
    domain: "chom",
    metadata: new Map([["kind", failure.kind]]),
  };
  const details = [detail("ErrorInfo", ErrorInfo.encode(ErrorInfo.fromPartial(info)).finish())];
  if (failure.violations.length > 0) {
    const fieldViolations = failure.violations.map(({ field, description }) => ({
      field,
      description: scrubLine(description),
    }));
    const encoded = BadRequest.encode(BadRequest.fromPartial({ fieldViolations })).finish();
    details.push(detail("BadRequest", encoded));
  }
  if (failure.retryAfterMs !== undefined) {
    const retryDelay = {
      seconds: BigInt(Math.floor(failure.retryAfterMs / 1_000)),
      nanos: (Math.floor(failure.retryAfterMs) % 1_000) * 1_000_000,
    };
    details.push(detail("RetryInfo", RetryInfo.encode({ retryDelay }).finish()));
  }
  const metadata = new Metadata();
  metadata.set(detailsKey, Buffer.from(Status.encode({ code, message, details }).finish()));
  return { code, details: message, metadata };
}

/** What a bare gRPC code means when the other side sent no details: it was not ours, or not reached. */
const bare: Readonly<Partial<Record<status, readonly [FailureKind, string]>>> = {
  [status.CANCELLED]: ["transient", "call-cancelled"],
  [status.INVALID_ARGUMENT]: ["invalid", "invalid-request"],
  [status.DEADLINE_EXCEEDED]: ["transient", "deadline-exceeded"],
  [status.NOT_FOUND]: ["not-found", "not-found"],
  [status.ALREADY_EXISTS]: ["conflict", "already-exists"],
  [status.PERMISSION_DENIED]: ["security", "not-permitted"],
  [status.RESOURCE_EXHAUSTED]: ["transient", "too-many-requests"],
  [status.FAILED_PRECONDITION]: ["rejected", "rejected"],
  [status.ABORTED]: ["conflict", "aborted"],
  [status.UNIMPLEMENTED]: ["permanent", "unimplemented"],
  [status.INTERNAL]: ["transient", "unexpected"],
  [status.UNAVAILABLE]: ["transient", "service-unavailable"],
  [status.UNAUTHENTICATED]: ["security", "unauthenticated"],
};

const kinds: readonly string[] = Object.keys(byKind);
const isKind = (text: string | undefined): text is FailureKind =>
  text !== undefined && kinds.includes(text);

function sentDetails(error: ServiceError): readonly { typeUrl: string; value: Uint8Array }[] {
  const [bytes] = error.metadata?.get(detailsKey) ?? [];
  if (!Buffer.isBuffer(bytes)) return [];
  try {
    return Status.decode(bytes).details;
  } catch {
    return [];
  }
}

/** The Failure that the other side answered, as well as it can be told from a gRPC error. */
export function failureFromStatus(error: ServiceError): Failure {
  const details = sentDetails(error);
  const find = (name: string) =>
    details.find(({ typeUrl }) => typeUrl === typePrefix + name)?.value;
  const [info, badRequest, retry] = [find("ErrorInfo"), find("BadRequest"), find("RetryInfo")];
  const [bareKind, bareCode] = bare[error.code] ?? ["unknown", "unknown-status"];
  const { reason = "", metadata } = info ? ErrorInfo.decode(info) : {};
  const kind = metadata?.get("kind");
  const delay = retry ? RetryInfo.decode(retry).retryDelay : undefined;
  return new Failure(
    isKind(kind) ? kind : bareKind,
    /^[a-z0-9][a-z0-9-]{0,63}$/.test(reason) ? reason : bareCode,
    error.details || error.message,
    {
      cause: error,
      violations: badRequest ? BadRequest.decode(badRequest).fieldViolations : [],
      ...(delay ? { retryAfterMs: Number(delay.seconds) * 1_000 + delay.nanos / 1_000_000 } : {}),
    },
  );
}
