import { given } from "@chom/shared/aggregate/given";
import { crashPoints } from "@chom/shared/testing/crash-points";
import { fakeRun } from "@chom/shared/testing/fake-run";
import { expect, test } from "vitest";
import { scanRestoredSites } from "./reactors.ts";
import { scan, scanEvents } from "./scan.ts";
import { scanSite } from "./scan-site.ts";

const input = { siteId: "site-1", serverId: "server-1", systemUser: "s-abc" };
const found = { filesCount: 3n, suspiciousPaths: ["public/x.php"] };
const facts = { jobId: "job-1", input, at: new Date(0), tenant: "t", actor: "a" };
const started = scanEvents.ScanStarted({ siteId: "site-1", jobId: "job-1" });

test("a running scan completes once, with what was found", () => {
  const done = { ...facts, result: found, durationMs: 1 };
  const [completed] = given(scan, started).when("complete", done);
  expect(completed).toEqual({
    name: "ScanCompleted",
    data: { siteId: "site-1", jobId: "job-1", ...found },
  });
  const after = given(scan, started, scanEvents.ScanCompleted(completed?.data as never));
  expect(after.when("complete", done)).toEqual([]);
});

test("what an older scan has to say is dropped when a newer one began", () => {
  const newer = scanEvents.ScanStarted({ siteId: "site-1", jobId: "job-2" });
  expect(
    given(scan, started, newer).when("complete", { ...facts, result: found, durationMs: 1 }),
  ).toEqual([]);
  expect(given(scan, started, newer).when("abandon", { ...facts, reason: "x" })).toEqual([]);
});

test("a scan reads through its script, and dying after any step ends the same", async () => {
  const answers = { "scan-files.sh": found };
  expect(await scanSite.work(input, fakeRun(answers))).toEqual(found);
  expect(await crashPoints(scanSite, { input, answers })).toBe(1);
});

test("a restored site is scanned where it is", async () => {
  const reactor = scanRestoredSites(async () => ({ serverId: "server-1", systemUser: "s-abc" }));
  const restored = { siteId: "site-1" } as never;
  expect(await reactor.on["RestoreCompleted"]?.(restored, { tenant: "t" } as never)).toMatchObject({
    kind: "dispatch",
    job: { name: "scan.site" },
    input,
  });
});
