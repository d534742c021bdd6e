import { expect, test } from "vitest";
import { failureOf, notFound, transient } from "../failure/failure.ts";
import type { AuditLog } from "./audit-log.ts";
import { callAudit } from "./call-audit.ts";
import type { AuditFacts } from "./chain.ts";

function audited({ isDown = false } = {}) {
  const entries: (AuditFacts & { tenant: string })[] = [];
  const note: AuditLog["note"] = (tenant, facts) => void entries.push({ tenant, ...facts });
  const write: AuditLog["write"] = async (tenant, facts) => {
    if (isDown) throw transient("log-unavailable", "the broker does not answer");
    note(tenant, facts);
  };
  let id = 0;
  let now = 1_800_000_000_000;
  const tick = (ms: number) => {
    now += ms;
  };
  const audit = callAudit({
    log: { write, note, close: async () => {} },
    service: "ssl",
    permissions: {
      "/a/Issue": "certificate.issue",
      "/a/Get": "certificate.read",
      "/s/Sign": "service",
    },
    sensitive: ["domain", "password"],
    now: () => new Date(now),
    newId: () => {
      id += 1;
      return `id-${id}`;
    },
  });
  return { audit, entries, tick };
}
const ann = { tenant: "acme", actor: "ann" };

test("a change is written down before it is done, and its end afterwards", async () => {
  const { audit, entries } = audited();
  const request = {
    ...{ requestId: "r1", siteId: "s1", serverIds: ["v1", "v2", "not an id"], reason: "asked to" },
    ...{ domain: "example.org", password: "hunter2", note: "free text", count: 3 },
  };
  const end = await audit.begin("/a/Issue", request, ann);
  expect(entries).toMatchObject([
    {
      ...{ tenant: "acme", actor: "ann", service: "ssl", action: "/a/Issue", outcome: "asked" },
      ...{ requestId: "r1", reason: "asked to", code: "" },
      resources: { siteId: "s1", serverIds: "v1 v2" },
    },
  ]);
  end();
  (await audit.begin("/a/Issue", {}, ann))(transient("log-unavailable", "away"));
  expect(entries.slice(1).map(({ outcome, code }) => [outcome, code])).toEqual([
    ["done", ""],
    ["asked", ""],
    ["failed", "log-unavailable"],
  ]);
  expect(JSON.stringify(entries)).not.toMatch(/hunter2|example\.org|free text/);
});

test("without an audit nothing is changed, and everything can be read", async () => {
  const { audit, entries } = audited({ isDown: true });
  await expect(audit.begin("/a/Issue", {}, ann)).rejects.toMatchObject({ code: "log-unavailable" });
  (await audit.begin("/a/Get", { siteId: "s1" }, ann))();
  expect(entries).toEqual([]);
});

test("case 38: whoever is refused is in the audit: unknown, without the right, or asking for what is not theirs", async () => {
  const { audit, entries } = audited();
  audit.refused("/a/Get", {}, undefined, failureOf("unauthenticated", "no token"));
  audit.refused("/a/Issue", {}, ann, failureOf("not-permitted", "no"));
  (await audit.begin("/a/Get", { siteId: "s9" }, ann))(notFound("site", "s9"));
  (await audit.begin("/s/Sign", { jobId: "j1" }, { tenant: "", actor: "ssl" }))(
    failureOf("signer-refused", "no"),
  );
  expect(entries.map((each) => [each.tenant, each.actor, each.outcome, each.code])).toEqual([
    ["platform", "", "refused", "unauthenticated"],
    ["acme", "ann", "refused", "not-permitted"],
    ["acme", "ann", "refused", "site-not-found"],
    ["platform", "ssl", "refused", "signer-refused"],
  ]);
});

test("a flood of refusals is counted instead of told one by one", () => {
  const { audit, entries, tick } = audited();
  const refuse = () => audit.refused("/a/Get", {}, undefined, failureOf("unauthenticated", "no"));
  for (let each = 0; each < 500; each += 1) refuse();
  expect(entries).toHaveLength(120);
  tick(60_000);
  refuse();
  expect(entries.at(-1)?.resources).toEqual({ untold: "380" });
});
