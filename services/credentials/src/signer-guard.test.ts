import { failureOf } from "@chom/shared/failure/failure";
import type { AuditFacts } from "@chom/shared/audit/chain";
import { createLogger } from "@chom/shared/telemetry/logger";
import { expect, test } from "vitest";
import { windowCount } from "./rate-cap.ts";
import { type SignerLimits, signerGuard } from "./signer-guard.ts";

const limits: SignerLimits = { perJob: 3, perServer: 5, perService: 20, servers: 4, refusals: 6 };
const claim = (more: Partial<{ jobId: string; serverId: string; tenant: string }> = {}) => ({
  ...{ tenant: "tenant-1", jobId: "job-1", fence: "1.1", serverId: "server-1" },
  ...more,
});

function setup() {
  let now = 1_000_000_000_000;
  const entries: { tenant: string; facts: AuditFacts }[] = [];
  const reports: [string, number][] = [];
  const guard = signerGuard(
    {
      audit: {
        write: async () => {},
        note: (tenant, facts) => void entries.push({ tenant, facts }),
        close: async () => {},
      },
      ...{ logger: createLogger({ service: "test", level: "silent" }), name: "credentials" },
      now: () => new Date(now),
      newId: () => `id-${entries.length}`,
      report: (service, count) => void reports.push([service, count]),
    },
    limits,
  );
  const ask = (service: string, more: Parameters<typeof claim>[0] = {}): string => {
    try {
      guard.admit(service, claim(more));
      return "";
    } catch (error) {
      return (error as { code: string }).code;
    }
  };
  return { guard, ask, entries, reports, pass: (ms: number) => (now += ms) };
}
const times = (n: number, work: (at: number) => string) =>
  Array.from({ length: n }, (_, at) => work(at));

test("case 67: a job, a server and a service each have their cap, and others theirs", () => {
  const { ask, pass } = setup();
  expect(times(4, () => ask("backup"))).toEqual(["", "", "", "too-many-requests"]);
  expect(times(3, () => ask("backup", { jobId: "job-2" }))).toEqual(["", "", "too-many-requests"]);
  expect(ask("ssl")).toBe("");
  expect(ask("backup", { jobId: "job-2", serverId: "server-2" })).toBe("too-many-requests");
  expect(ask("backup", { jobId: "job-3", serverId: "server-2" })).toBe("");
  pass(60_000);
  expect(ask("backup")).toBe("");
});

test("case 67: a service that asks for many servers is stopped at the cap of servers", () => {
  const { ask } = setup();
  const answers = times(7, (at) => ask("backup", { jobId: `job-${at}`, serverId: `server-${at}` }));
  expect(answers).toEqual([...times(4, () => ""), ...times(3, () => "too-many-requests")]);
  expect(ask("backup", { jobId: "job-9", serverId: "server-0" })).toBe("");
});

test("case 67: a service that was refused too often is not listened to until the minute is over", () => {
  const { guard, ask, pass } = setup();
  const why = failureOf("signer-refused", "the job is about another server");
  for (let at = 0; at < limits.refusals; at += 1) guard.refused("backup", claim(), why);
  expect(ask("backup")).toBe("too-many-requests");
  expect(ask("ssl")).toBe("");
  pass(60_000);
  expect(ask("backup")).toBe("");
});

test("case 67: a flood of denials is an entry a minute with a number, and a few reports", () => {
  const { ask, entries, reports, pass } = setup();
  times(2_000, () => ask("backup"));
  expect(entries).toHaveLength(1);
  expect(entries[0]).toMatchObject({
    tenant: "platform",
    facts: { action: "key.sign", outcome: "refused", code: "too-many-requests", actor: "backup" },
  });
  expect(reports).toEqual([1, 10, 100, 1_000].map((count) => ["backup", count]));
  pass(60_000);
  times(30, () => ask("backup"));
  expect(entries).toHaveLength(2);
  expect(entries[1]?.facts.resources).toMatchObject({ untold: "1996" });
});

test("case 67: what is no id is refused and never kept", () => {
  const { ask } = setup();
  expect(ask("backup", { jobId: "x".repeat(1_000_000) })).toBe("signer-refused");
  expect(ask("backup", { tenant: "*" })).toBe("signer-refused");
});

test("case 67: a flood of keys costs no memory and frees no key of its count", () => {
  const counts = windowCount({ windowMs: 1_000, keysMax: 100 });
  expect([counts.add("a", 0), counts.add("a", 0)]).toEqual([1, 2]);
  const answers = times(1_000, (at) => String(counts.add(`key-${at}`, 0)));
  expect(answers.filter((answer) => answer === "Infinity")).toHaveLength(901);
  expect(counts.add("a", 0)).toBe(3);
  expect(counts.add("a", 1_000)).toBe(1);
});
