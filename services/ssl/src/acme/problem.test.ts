import fc from "fast-check";
import { expect, test } from "vitest";
import { problemFailure, problemOf, readProblem, readRetryAfter } from "./problem.ts";

const urn = "urn:ietf:params:acme:error:";
const requestFailure = (json: unknown, status = 400, retryAfterMs?: number) =>
  problemFailure(readProblem(json, status), "request", retryAfterMs);

test("each problem type has its code and its kind", () => {
  const found = [
    "rateLimited",
    "badNonce",
    "malformed",
    "rejectedIdentifier",
    "caa",
    "userActionRequired",
  ].map((type) => {
    const { code, kind } = requestFailure({ type: urn + type, detail: "d" });
    return `${type} ${code} ${kind}`;
  });
  expect(found).toEqual([
    "rateLimited acme-rate-limited transient",
    "badNonce acme-bad-nonce transient",
    "malformed acme-malformed permanent",
    "rejectedIdentifier acme-rejected-identifier permanent",
    "caa caa-forbids transient",
    "userActionRequired acme-account operator",
  ]);
});

test("unauthorized means the account in a request and the token in a validation", () => {
  const problem = readProblem({ type: `${urn}unauthorized`, detail: "no" }, 403);
  expect(problemFailure(problem, "request").code).toBe("acme-account");
  expect(problemFailure(problem, "validation").code).toBe("acme-unauthorized");
});

test("a status decides where the type says nothing", () => {
  expect(requestFailure("<html>", 429, 7_000)).toMatchObject({
    code: "acme-rate-limited",
    retryAfterMs: 7_000,
  });
  expect(requestFailure(undefined, 503).code).toBe("acme-server");
  expect(requestFailure({ type: `${urn}somethingNew` }, 404).code).toBe("acme-malformed");
  expect(requestFailure({ type: "constructor" }, 500).code).toBe("acme-server");
});

test("a compound problem is as final as its most final part", () => {
  const json = {
    type: `${urn}compound`,
    detail: "two names",
    subproblems: [
      { type: `${urn}rateLimited`, detail: "later", identifier: { type: "dns", value: "a.test" } },
      {
        type: `${urn}rejectedIdentifier`,
        detail: "never",
        identifier: { type: "dns", value: "b.test" },
      },
    ],
  };
  const failure = requestFailure(json);
  expect(failure.code).toBe("acme-rejected-identifier");
  expect(failure.message).toBe(
    "the CA says compound: two names; a.test: rateLimited: later; b.test: rejectedIdentifier: never",
  );
  expect(problemOf(failure)?.subproblems).toHaveLength(2);
});

test("whatever the CA writes, the message is printable and at most 1,000 characters", () => {
  // A small alphabet of what hurts: every code point would take seconds to set up.
  const nasty = [
    "a",
    " ",
    "é",
    "😀",
    "\ud83d",
    "\u0000",
    "\u001b",
    "\u009f",
    "\u202e",
    "\u2028",
    "\ufeff",
  ];
  const unit = fc.constantFrom(...nasty);
  const text = fc
    .tuple(fc.string({ unit, maxLength: 8 }), fc.integer({ min: 1, max: 200 }))
    .map(([piece, times]) => piece.repeat(times));
  const part = fc.oneof(text, fc.integer(), fc.constant(null), fc.constant(`${urn}malformed`));
  const identifier = fc.record({ value: part });
  const subproblem = fc.oneof(part, fc.record({ type: part, detail: part, identifier }));
  const hostile = fc.record({
    type: part,
    detail: part,
    subproblems: fc.oneof(part, fc.array(subproblem, { maxLength: 8 })),
  });
  fc.assert(
    fc.property(fc.oneof(hostile, part), (json) => {
      const { message } = requestFailure(json);
      expect(message.length).toBeLessThanOrEqual(1_000);
      expect(message).not.toMatch(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u);
    }),
  );
});

test("Retry-After is read as seconds or a date, is never negative and never beyond 30 days", () => {
  const now = new Date("2026-11-23T22:00:00Z");
  expect(readRetryAfter("120", now)).toBe(120_000);
  expect(readRetryAfter("Mon, 23 Nov 2026 22:01:00 GMT", now)).toBe(60_000);
  expect(readRetryAfter("Mon, 23 Nov 2020 22:01:00 GMT", now)).toBe(0);
  expect(readRetryAfter("99999999999", now)).toBe(30 * 86_400_000);
  expect(readRetryAfter("soon", now)).toBeUndefined();
  expect(readRetryAfter(undefined, now)).toBeUndefined();
});
