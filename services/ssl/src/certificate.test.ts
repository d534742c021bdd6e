import { expect, test } from "vitest";
import { given } from "@chom/shared/aggregate/given";
import { certificate, certificateEvents } from "./certificate.ts";

const input = { siteId: "site-1", domain: "shop.test", serverId: "server-1" };
const at = new Date("2026-11-23T22:00:00Z");
const facts = { jobId: "job-1", at, tenant: "t", actor: "a", input };
const result = {
  serial: "77",
  issuer: "CN=ca",
  notBefore: at,
  notAfter: new Date("2027-02-21T22:00:00Z"),
  renewAt: new Date("2027-01-20T22:00:00Z"),
  names: ["shop.test"],
  ariId: "a.b",
  fingerprint: "f",
};
const done = { ...facts, result, durationMs: 1 };
const report = {
  ...facts,
  code: "acme-server",
  kind: "transient",
  message: "down",
  attempts: 3,
  undone: true,
};
const { CertificateRequested, CertificateIssued, CertificateDropped } = certificateEvents;
const requested = CertificateRequested({ ...input, jobId: "job-1" });
const issued = CertificateIssued({ ...input, ...result, jobId: "job-1" });
const dropped = CertificateDropped({ siteId: "site-1" });

test("a certificate is requested once per job and issued once", () => {
  expect(given(certificate).when("begin", facts)).toEqual([
    { name: "CertificateRequested", data: { ...input, jobId: "job-1" } },
  ]);
  expect(given(certificate, requested).when("begin", facts)).toEqual([]);
  expect(given(certificate, requested).when("issue", done)).toEqual([
    { name: "CertificateIssued", data: { ...input, ...result, jobId: "job-1" } },
  ]);
  expect(given(certificate, requested, issued).when("issue", done)).toEqual([]);
});

test("a renewal names the certificate it replaces", () => {
  const renewInput = { ...input, serial: "77", ariId: "a.b", force: false };
  const renewed = {
    ...done,
    input: renewInput,
    result: { ...result, serial: "78" },
    jobId: "job-2",
  };
  expect(given(certificate, requested, issued).when("renew", renewed)).toMatchObject([
    { name: "CertificateRenewed", data: { serial: "78", previousSerial: "77", jobId: "job-2" } },
  ]);
});

test("a failed renewal is told, and the certificate stays active", () => {
  const history = given(certificate, requested, issued);
  expect(history.when("fail", report)).toMatchObject([
    { name: "CertificateFailed", data: { code: "acme-server" } },
  ]);
  const failed = certificateEvents.CertificateFailed({
    siteId: "site-1",
    domain: "shop.test",
    code: "c",
    message: "m",
    jobId: "job-2",
  });
  expect(given(certificate, requested, issued, failed).state).toMatchObject({
    status: "active",
    serial: "77",
  });
  expect(given(certificate, requested, failed).state).toMatchObject({ status: "failed" });
});

test("a job that was cancelled or skipped leaves nothing pending, and a served certificate alone", () => {
  const abandoned = { ...facts, reason: "not wanted" };
  expect(given(certificate, requested).when("abandon", abandoned)).toMatchObject([
    { data: { code: "cancelled" } },
  ]);
  expect(given(certificate, requested).when("pass", abandoned)).toMatchObject([
    { data: { code: "skipped" } },
  ]);
  expect(given(certificate, requested, issued).when("abandon", abandoned)).toEqual([]);
});

test("a deferred request says why and until when", () => {
  const postponed = { ...facts, until: at, code: "dns-not-pointed", reason: "points elsewhere" };
  expect(given(certificate, requested).when("defer", postponed)).toMatchObject([
    {
      name: "CertificateIssueDeferred",
      data: { code: "dns-not-pointed", reason: "points elsewhere", until: at },
    },
  ]);
});

test("a request that goes on waiting for the same reason is told once, for another reason again", () => {
  const postponed = { ...facts, until: at, code: "dns-not-pointed", reason: "points elsewhere" };
  const deferred = certificateEvents.CertificateIssueDeferred({
    siteId: "site-1",
    domain: "shop.test",
    code: "dns-not-pointed",
    reason: "points elsewhere",
    until: at,
    jobId: "job-1",
  });
  const waiting = given(certificate, requested, deferred);
  expect(waiting.when("defer", postponed)).toEqual([]);
  expect(waiting.when("defer", { ...postponed, reason: "no records" })).toHaveLength(1);
});

test("only a served certificate gets another plan, and only when the time differs", () => {
  const plan = { siteId: "site-1", renewAt: at, basis: "ari" };
  expect(given(certificate, requested, issued).when("plan", plan)).toMatchObject([
    { name: "CertificateRenewalPlanned" },
  ]);
  expect(
    given(certificate, requested, issued).when("plan", { ...plan, renewAt: result.renewAt }),
  ).toEqual([]);
  expect(given(certificate, requested).when("plan", plan)).toEqual([]);
});

test("a dropped certificate is dropped once and stays so, whatever late jobs say", () => {
  expect(given(certificate, requested, issued).when("drop", { siteId: "site-1" })).toMatchObject([
    { name: "CertificateDropped" },
  ]);
  const gone = given(certificate, requested, dropped);
  expect(gone.when("drop", { siteId: "site-1" })).toEqual([]);
  expect(gone.when("begin", { ...facts, jobId: "job-9" })).toEqual([]);
  expect(gone.when("issue", done)).toEqual([]);
  expect(gone.when("fail", report)).toEqual([]);
  expect(given(certificate).when("drop", { siteId: "site-1" })).toEqual([]);
});
