import { Metadata, type ServiceError, status } from "@grpc/grpc-js";
import { expect, test } from "vitest";
import { Failure, type FailureKind } from "../failure/failure.ts";
import { failureFromStatus, statusOf } from "./status.ts";

const sent = (failure: Failure): ServiceError => {
  const { code, details, metadata } = statusOf(failure);
  return Object.assign(new Error(details), { code, details, metadata });
};

test.each<[FailureKind, string, status]>([
  ["invalid", "invalid-request", status.INVALID_ARGUMENT],
  ["not-found", "site-not-found", status.NOT_FOUND],
  ["rejected", "site-restoring", status.FAILED_PRECONDITION],
  ["operator", "disk-full", status.FAILED_PRECONDITION],
  ["conflict", "wrong-sequence", status.ABORTED],
  ["conflict", "already-exists", status.ALREADY_EXISTS],
  ["transient", "log-unavailable", status.UNAVAILABLE],
  ["transient", "deadline-exceeded", status.DEADLINE_EXCEEDED],
  ["transient", "unexpected", status.INTERNAL],
  ["permanent", "port-conflict", status.INTERNAL],
  ["security", "not-permitted", status.PERMISSION_DENIED],
  ["security", "unauthenticated", status.UNAUTHENTICATED],
  ["unknown", "step-timeout", status.UNKNOWN],
])("%s %s goes out as its code and comes back the same", (kind, code, expected) => {
  const failure = new Failure(kind, code, "a sentence");
  expect(statusOf(failure).code).toBe(expected);
  expect(failureFromStatus(sent(failure))).toMatchObject({ kind, code, message: "a sentence" });
});

test("violations and delays survive, secrets in messages do not", () => {
  const violations = [{ field: "site_id", description: "is required" }];
  const options = { violations, retryAfterMs: 1_250 };
  const back = failureFromStatus(sent(new Failure("invalid", "x", "password=hunter22", options)));
  expect(back).toMatchObject({ violations, retryAfterMs: 1_250, message: "password=[secret]" });
});

test("a bare status of something else is understood, and broken details do no harm", () => {
  const metadata = new Metadata();
  metadata.set("grpc-status-details-bin", Buffer.from([0xff, 0xff, 0xff]));
  const error = Object.assign(new Error("14 UNAVAILABLE"), {
    ...{ code: status.UNAVAILABLE, details: "no connection", metadata },
  });
  expect(failureFromStatus(error)).toMatchObject({
    kind: "transient",
    code: "service-unavailable",
    message: "no connection",
  });
});
