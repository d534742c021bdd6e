import { expect, test } from "vitest";
import {
  eventFilter,
  eventSubject,
  journalSubject,
  kvSubject,
  leaseKey,
  liveSubject,
  parseHistorySubject,
  parseWorkSubject,
  quarantineSubject,
  runLeaseKey,
  scheduleSubject,
  subjectMatches,
  workSubject,
} from "./subjects.ts";

const hostile = [
  "*",
  ">",
  "a.b",
  "",
  " ",
  "$JS",
  "_INBOX",
  "a b",
  "a\r\nPUB x",
  "A",
  "-a",
  "ä",
  "a".repeat(65),
];

test("case 46: a token that is no id never gets into a subject", () => {
  for (const token of hostile) {
    const built = [
      () => eventSubject(token, "site", "1"),
      () => eventSubject("t", token, "1"),
      () => eventSubject("t", "site", token),
      () => journalSubject(token, "backup", "1"),
      () => journalSubject("t", token, "1"),
      () => journalSubject("t", "backup", token),
      () => workSubject("backup", "low", token, "1"),
      () => workSubject("backup", "low", "t", token),
      () => scheduleSubject("backup", "t", token),
      () => quarantineSubject("ssl", token),
      () => leaseKey("t", "site", token),
      () => leaseKey(token, "site", "1"),
      () => runLeaseKey(token, "backup", "1"),
      () => runLeaseKey("t", "backup", token),
      () => eventFilter(token),
      () => kvSubject("leases", `t.site.${token.includes(".") ? "*" : token}`),
    ];
    for (const build of built) expect(build, JSON.stringify(token)).toThrow(/must be 1 to/);
  }
});

test("a tenant has at most 32 characters, an id 64", () => {
  expect(() => eventSubject("t".repeat(33), "site", "1")).toThrow(/tenant/);
  expect(eventSubject("t".repeat(32), "site", "i".repeat(64))).toHaveLength(4 + 32 + 6 + 64);
});

test("a history subject parses back into its parts", () => {
  expect(parseHistorySubject(eventSubject("acme", "site", "s1"))).toEqual({
    stream: "EVENTS",
    tenant: "acme",
    kind: "site",
    id: "s1",
  });
  expect(parseHistorySubject(journalSubject("acme", "ssl", "j1"))?.stream).toBe("JOURNAL");
  for (const odd of ["evt.a.b", "evt.a.b.c.d", "job.a.b.c", "evt.a.*.c", ""]) {
    expect(parseHistorySubject(odd), odd).toBeUndefined();
  }
  expect(parseWorkSubject(workSubject("ssl", "high", "acme", "j1"))).toEqual({
    family: "ssl",
    queue: "high",
    tenant: "acme",
    jobId: "j1",
  });
});

test("filters match whole tokens", () => {
  expect(subjectMatches("evt.*.site.*", "evt.acme.site.1")).toBe(true);
  expect(subjectMatches("evt.*.site.*", "evt.acme.sites.1")).toBe(false);
  expect(subjectMatches("evt.>", "evt.acme.site.1")).toBe(true);
  expect(subjectMatches("evt.>", "evt")).toBe(false);
  expect(subjectMatches("evt.*", "evt.a.b")).toBe(false);
  expect(liveSubject(eventFilter("site"))).toBe("live.evt.*.site.*");
});
