import { expect, test } from "vitest";
import { issueCertificate } from "./issue-certificate.ts";
import { registeredDomain } from "./order-limits.ts";
import { renewCertificate } from "./renew-certificate.ts";

test("a certificate has 3 tries, 120 s before the second, 120 s each, on the queue default", () => {
  const made = issueCertificate({} as never);
  expect(made).toMatchObject({ queue: "default", tries: 3, timeoutMs: 120_000 });
  expect(made.backoffMs[0]).toBe(120_000);
});

test("orders are charged to their registered domain and to the account, and wait for a server that fails", () => {
  const input = { siteId: "s", domain: "shop.example.co.uk", serverId: "server-1" };
  const renewal = { ...input, serial: "", ariId: "", force: false };
  const limits = [
    { name: "acme-orders", key: "example.co.uk" },
    { name: "acme-account", key: "all" },
  ];
  const issue = issueCertificate({} as never);
  const renew = renewCertificate({} as never);
  expect(issue.rateLimit?.(input)).toEqual(limits);
  expect(renew.rateLimit?.(renewal)).toEqual(limits);
  expect([issue.circuit?.(input), renew.circuit?.(renewal)]).toEqual(["server-1", "server-1"]);
});

test.each([
  ["example.com", "example.com"],
  ["a.b.example.com", "example.com"],
  ["shop.example.com.au", "example.com.au"],
  ["mine.github.io", "mine.github.io"],
  ["xn--bcher-kva.example", "xn--bcher-kva.example"],
  ["localhost", "localhost"],
])("the registered domain of %s is %s", (domain, registered) => {
  expect(registeredDomain(domain)).toBe(registered);
});
