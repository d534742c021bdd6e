import { expect, test } from "vitest";
import { issueCertificate } from "./issue-certificate.ts";

test("a certificate has 3 tries, 120 s before the second, 120 s each, on the queue default", () => {
  const made = issueCertificate({} as never);
  expect(made).toMatchObject({ queue: "default", tries: 3, timeoutMs: 120_000 });
  expect(made.backoffMs[0]).toBe(120_000);
});
