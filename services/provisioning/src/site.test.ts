import { SiteKind } from "@chom/proto/chom/provisioning/v1/provisioning";
import { given } from "@chom/shared/aggregate/given";
import { expect, test } from "vitest";
import { site, siteEvents } from "./site.ts";

const { SiteRequested, SiteProvisioned, SiteProvisioningFailed, SiteRemovalStarted } = siteEvents;
const { SiteDeprovisioned, SiteRestoring, SiteRestoreEnded } = siteEvents;

const asked = {
  siteId: "site-1",
  domain: "shop.example.com",
  serverId: "server-1",
  kind: SiteKind.PHP,
  phpVersion: "",
  database: true,
  sslEnabled: true,
};
const requested = { ...asked, jobId: "job-1" };
const result = {
  phpVersion: "8.2",
  systemUser: "s-abc",
  rootPath: "/srv/sites/s-abc",
  databaseName: "s_abc",
  serverAddresses: ["192.0.2.1"],
};
const facts = { jobId: "job-1", at: new Date(0), tenant: "tenant-1", actor: "a" };
const input = { ...asked, adminEmail: "" };
const done = { ...facts, input, result, durationMs: 1 };
const report = {
  ...facts,
  input,
  code: "port-conflict",
  kind: "permanent",
  message: "no",
  attempts: 1,
};
const { database: _, ...told } = asked;
const provisioned = { ...told, ...result, jobId: "job-1" };

test("a site asked for twice is asked for once, and another job cannot ask for it again", () => {
  expect(given(site).when("request", requested)).toEqual([
    { name: "SiteRequested", data: requested },
  ]);
  const creating = given(site, SiteRequested(requested));
  expect(creating.when("request", requested)).toEqual([]);
  expect(() => creating.when("request", { ...requested, jobId: "job-2" })).toThrow("another job");
});

test("a site is provisioned once, with what was found and made", () => {
  const [event, ...rest] = given(site, SiteRequested(requested)).when("complete", done);
  expect(event?.data).toMatchObject({ ...result, domain: asked.domain, sslEnabled: true });
  expect(rest).toEqual([]);
  expect(given(site, SiteProvisioned(provisioned)).when("complete", done)).toEqual([]);
});

test("an event carries no e-mail address and no password", () => {
  const [event] = given(site, SiteRequested(requested)).when("complete", {
    ...done,
    input: { ...input, adminEmail: "owner@example.com" },
  });
  const codec = SiteProvisioned.codec;
  expect(JSON.stringify(codec.toJSON(event?.data as never))).not.toContain("owner@");
});

test("a failed site says whether everything was taken back", () => {
  const creating = given(site, SiteRequested(requested));
  expect(creating.when("fail", { ...report, undone: true })[0]?.data).toMatchObject({
    message: "no",
  });
  expect(creating.when("fail", { ...report, undone: false })[0]?.data).toMatchObject({
    code: "port-conflict",
    message: "no; not everything could be taken back",
  });
});

test("a failed site that an operator retries is being created again and can still succeed", () => {
  const failure = {
    siteId: "site-1",
    domain: asked.domain,
    code: "x",
    message: "y",
    jobId: "job-1",
  };
  const failed = [SiteRequested(requested), SiteProvisioningFailed(failure)] as const;
  const began = given(site, ...failed).when("begin", { ...facts, input });
  expect(began.map(({ name }) => name)).toEqual(["SiteRequested"]);
  expect(given(site, ...failed).when("complete", done)).toHaveLength(1);
});

test("a site whose job never reached the queue is given up, any other is not", () => {
  const given1 = { siteId: "site-1", jobId: "job-1" };
  const creating = given(site, SiteRequested(requested));
  expect(creating.when("giveUp", given1)[0]?.data).toMatchObject({ code: "never-queued" });
  expect(given(site, SiteProvisioned(provisioned)).when("giveUp", given1)).toEqual([]);
  expect(given(site).when("giveUp", given1)).toEqual([]);
});

test("a restore gives back the status that was before, whatever attempt ends it", () => {
  const restore = { siteId: "site-1", restoreId: "restore-1" };
  const active = [SiteRequested(requested), SiteProvisioned(provisioned)] as const;
  expect(given(site, ...active).when("restoreBegan", restore)).toHaveLength(1);
  const restoring = given(site, ...active, SiteRestoring(restore));
  expect(restoring.state).toMatchObject({ status: "active", restoreId: "restore-1" });
  expect(restoring.when("restoreBegan", restore)).toEqual([]);
  expect(restoring.when("restoreEnded", { ...restore, restoreId: "older" })).toEqual([]);
  const ended = given(site, ...active, SiteRestoring(restore), SiteRestoreEnded(restore));
  expect(ended.state).toMatchObject({ status: "active", restoreId: "" });
  expect(ended.when("restoreEnded", restore)).toEqual([]);
});

test("a removed site is removed once and restores of it change nothing", () => {
  const job = { ...facts, jobId: "job-9" };
  const removing = {
    siteId: "site-1",
    domain: "",
    serverId: "",
    kind: SiteKind.PHP,
    phpVersion: "",
    databaseName: "",
  };
  const active = [SiteRequested(requested), SiteProvisioned(provisioned)] as const;
  expect(given(site, ...active).when("beginRemoval", { ...job, input: removing })).toHaveLength(1);
  const gone = given(
    site,
    ...active,
    SiteRemovalStarted({ siteId: "site-1", jobId: "job-9" }),
    SiteDeprovisioned({ siteId: "site-1", domain: "", serverId: "", jobId: "job-9" }),
  );
  const finished = { ...job, input: removing, result: undefined, durationMs: 1 };
  expect(gone.when("completeRemoval", finished)).toEqual([]);
  expect(gone.when("restoreBegan", { siteId: "site-1", restoreId: "r" })).toEqual([]);
  const trouble = { ...report, ...job, input: removing, undone: true };
  expect(gone.when("failRemoval", trouble)).toEqual([]);
});
