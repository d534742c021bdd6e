/** The dashboard in a real browser, on the whole system: what operators see, do, and may not do. */
import { readFileSync } from "node:fs";
import { BackupKind } from "@chom/proto/chom/backup/v1/backup";
import { JobOptions } from "@chom/proto/chom/jobs/v1/control";
import { JobState } from "@chom/proto/chom/jobs/v1/jobs";
import { SiteKind } from "@chom/proto/chom/provisioning/v1/provisioning";
import { BatchSpec, ChainSpec } from "@chom/proto/chom/scheduler/v1/flows";
import { ScheduleSpec } from "@chom/proto/chom/scheduler/v1/schedules";
import { roles } from "@chom/shared/rpc/roles";
import { vpsSupport } from "@chom/stack/vps";
import axe from "axe-core";
import type { Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { picture, startBrowser, type TestBrowser } from "./browser.ts";
import { newId, startWorld, type World } from "./world.ts";

let world: World;
let browser: TestBrowser;
let url: string;
const actor = "<img/src=x/onerror=alert(1)>";
const site = { siteId: "" };
const failed = { siteId: "", jobId: "" };

const clean = (options = {}, jobId = newId("clean")) =>
  world.clients.dispatch.dispatchJob({
    ...{ requestId: jobId, jobName: "backup.clean", inputJson: "{}", reason: "because" },
    options: JobOptions.fromPartial(options),
  });

const provision = (serverId: string, domain: string, more: object) =>
  world.clients.provisioning.provisionSite({
    ...{ requestId: newId("site"), domain, serverId, kind: SiteKind.STATIC, phpVersion: "" },
    ...{ database: false, sslEnabled: false, reason: "", adminEmail: "", ...more },
  });

async function ended(jobId: string, wanted: JobState): Promise<void> {
  let state: JobState = JobState.UNSPECIFIED;
  for await (const entry of world.clients.watch(jobId)) state = entry.state;
  expect(state).toBe(wanted);
}

/** A site that wants what its server has not: the job fails. */
async function failingSite(serverId: string, domain: string) {
  const made = await provision(serverId, domain, { kind: SiteKind.PHP, phpVersion: "7.1" });
  await ended(made.jobId, JobState.FAILED);
  return made;
}

const support = await vpsSupport();
if (!support.ok) console.log(`skipped: the dashboard in a browser: ${support.reason}`);

describe.skipIf(!support.ok)("the dashboard in a browser", () => {
  beforeAll(async () => {
    [world, browser] = await Promise.all([startWorld({ dashboard: true }), startBrowser()]);
    url = `http://${world.stack.dashboard.address}`;
    const { serverId, vps } = await world.addServer();
    await world.stack.pebble.addAddress("shop.chom.test", vps.address);
    const shop = await provision(serverId, "shop.chom.test", { sslEnabled: true });
    Object.assign(failed, await failingSite(serverId, "old.chom.test"));
    await failingSite(serverId, "older.chom.test");
    await ended(shop.jobId, JobState.COMPLETED);
    site.siteId = shop.siteId;
    const { jobId } = await world.clients.backup.createBackup({
      ...{ requestId: newId("backup"), siteId: shop.siteId, kind: BackupKind.FULL },
      ...{ retentionDays: 0, reason: "" },
    });
    await ended(jobId, JobState.COMPLETED);
    await clean({ tags: ["<b>weekly</b>"] }, "first-clean");
  }, 240_000);
  afterAll(async () => {
    await browser?.close();
    await world?.stop();
  }, 60_000);

  async function open(): Promise<Page> {
    const page = await browser.context.newPage();
    onTestFinished(() => page.close());
    return page;
  }

  async function signedIn(options: { permissions?: readonly string[]; actor?: string } = {}) {
    const page = await open();
    await page.context().clearCookies();
    await page.goto(url);
    await page.fill("#token", await world.stack.token("acme", { actor: "ann", ...options }));
    await page.keyboard.press("Enter");
    await page.waitForURL(`${url}/`);
    return page;
  }

  const isLive = (page: Page) => page.waitForSelector('#live[data-state="live"]');

  test("a wrong token does not sign in, a right one does, and it stays out of sight", async () => {
    const page = await open();
    const hosts = new Set<string>();
    page.on("request", (request) => hosts.add(new URL(request.url()).host));
    await page.goto(`${url}/jobs`);
    expect(page.url()).toBe(`${url}/sign-in`);
    await picture(page, "sign-in");
    await page.fill("#token", "not-a-token");
    await page.keyboard.press("Enter");
    await page.waitForSelector("[role=alert]");
    expect(await page.getAttribute("#token", "aria-invalid")).toBe("true");
    const old = await world.stack.token("acme", { lifetimeSeconds: -60 });
    await page.fill("#token", old);
    await page.keyboard.press("Enter");
    await page.waitForSelector("text=has expired");
    const token = await world.stack.token("acme", { actor: "ann" });
    await page.fill("#token", token);
    await page.keyboard.press("Enter");
    await page.waitForURL(`${url}/`);
    await page.waitForSelector("text=ann");
    const [cookie] = await page.context().cookies();
    expect(cookie).toMatchObject({ httpOnly: true, secure: true, sameSite: "Strict", path: "/" });
    expect(cookie?.value).not.toContain(token.slice(0, 30));
    expect(readFileSync(world.stack.dashboard.logFile, "utf8")).not.toContain(token.split(".")[2]);
    expect([...hosts]).toEqual([new URL(url).host]);
  });

  test("a job appears and ends on the list without a reload", async () => {
    const page = await signedIn();
    await page.goto(`${url}/jobs`);
    await isLive(page);
    await page.evaluate(() => Object.assign(globalThis, { notReloaded: true }));
    const { jobId } = await clean();
    const row = page.locator("tbody tr", { has: page.locator(`[title="${jobId}"]`) });
    await row.locator("text=completed").waitFor();
    expect(await page.evaluate(() => "notReloaded" in globalThis)).toBe(true);
    await picture(page, "jobs");
  });

  test("the overview counts, draws what happened and stays live", async () => {
    const page = await signedIn();
    await isLive(page);
    await page.waitForSelector("text=completed");
    expect(await page.locator(".tile", { hasText: "Failed" }).textContent()).toContain("2");
    expect(await page.locator("figure.chart svg g").count()).toBeGreaterThan(90);
    await page.click("text=As a table");
    const done = page.locator(".legend li", { hasText: "completed" }).locator("b");
    const before = Number(await done.textContent());
    await clean();
    await expect.poll(async () => Number(await done.textContent())).toBeGreaterThan(before);
    // What the reader opened stays open.
    expect(await page.locator("figure details[open]").count()).toBe(1);
    await picture(page, "overview");
    await page.emulateMedia({ colorScheme: "dark" });
    await picture(page, "overview-dark");
  });

  test("a job's page tells its steps, attempts and failure, and its input", async () => {
    const page = await signedIn();
    await page.goto(`${url}/jobs/${failed.jobId}`);
    const main = await page.locator("main").textContent();
    expect(main).toContain("site.provision");
    expect(main).toContain("Attempt 1 began");
    expect(main).toContain("old.chom.test");
    expect(await page.locator(".failed code").first().textContent()).not.toBe("");
    await picture(page, "job-failed");
  });

  test("case 58: what people named shows as text and runs nothing", async () => {
    const page = await signedIn({ actor });
    const dialogs: string[] = [];
    page.on("dialog", (dialog) => void dialogs.push(dialog.message()));
    await page.goto(`${url}/jobs/first-clean`);
    await page.waitForSelector("text=<b>weekly</b>");
    await page.waitForSelector(`text=${actor}`);
    expect(await page.locator("main b", { hasText: /^weekly$/ }).count()).toBe(0);
    expect(await page.locator("img:not(.brand img)").count()).toBe(0);
    await page.goto(`${url}/jobs?tag=${encodeURIComponent('"><img src=x onerror=alert(1)>')}`);
    expect(await page.locator("img:not(.brand img)").count()).toBe(0);
    await page.goto(`${url}/jobs/${encodeURIComponent("<script>alert(1)</script>")}`);
    expect(await page.locator("main script").count()).toBe(0);
    expect(dialogs).toEqual([]);
  });

  test("case 38: a viewer sees no button that acts, and a forged form is refused by the services", async () => {
    const page = await signedIn({ permissions: roles.viewer });
    await page.goto(`${url}/failed`);
    await page.waitForSelector("text=site.provision");
    expect(await page.locator("form[data-bulk] button").count()).toBe(0);
    const answer = await page.evaluate(
      async ([jobId, form]) => {
        const body = new URLSearchParams({ form: form ?? "", job: jobId ?? "", do: "retry" });
        const response = await fetch("/failed", { method: "POST", body, redirect: "manual" });
        return { status: response.status, text: await response.text() };
      },
      [failed.jobId, await page.inputValue('input[name="form"] >> nth=0')] as const,
    );
    expect(answer.status).toBe(403);
    expect(answer.text).toContain("not-permitted");
  });

  test("a form from elsewhere, or without the session's own secret, is refused", async () => {
    const page = await signedIn();
    const cookie = (await page.context().cookies()).map((each) => `${each.name}=${each.value}`)[0];
    const post = (headers: Record<string, string>, body: string) =>
      fetch(`${url}/sign-out`, {
        ...{ method: "POST", redirect: "manual", body },
        headers: {
          ...{ cookie: cookie ?? "", "content-type": "application/x-www-form-urlencoded" },
          ...headers,
        },
      });
    expect((await post({ origin: "https://evil.example" }, "")).status).toBe(403);
    expect((await post({}, "")).status).toBe(403);
    const body = new URLSearchParams({ form: "guessed", job: failed.jobId, do: "retry" });
    const forged = await fetch(`${url}/failed`, {
      ...{ method: "POST", redirect: "manual", body },
      headers: { cookie: cookie ?? "", origin: url },
    });
    expect(forged.status).toBe(403);
  });

  test("a failed job is tried again from its page, live, with a question before it is forgotten", async () => {
    const page = await signedIn();
    await page.goto(`${url}/jobs/${failed.jobId}`);
    await isLive(page);
    await page.click("button:text-is('Retry')");
    await page.waitForSelector("text=1 job of 1 will run again.");
    // It runs, fails once more, and the page tells so by itself.
    await page.locator("text=Attempt 1 of retry 1: failed").waitFor({ timeout: 60_000 });
    await page.click("button:text-is('Forget')");
    await page.waitForSelector("dialog[open]");
    await page.click("dialog >> text=Keep as it is");
    await page.waitForSelector("dialog[open]", { state: "detached" });
    expect(await page.evaluate("document.activeElement?.textContent")).toBe("Forget");
  });

  test("some failed jobs are tried again and all are forgotten", async () => {
    const page = await signedIn();
    await page.goto(`${url}/failed`);
    await isLive(page);
    await expect.poll(() => page.locator("input[name=job]").count()).toBe(2);
    await picture(page, "failed");
    await page.check(`#pick-${failed.jobId}`);
    await page.waitForSelector("text=1 selected");
    await page.click("button:text-is('Retry selected')");
    await page.waitForSelector("text=1 job of 1 will run again.");
    // It fails on the same once more. Until then the list may have it still or no more.
    await expect
      .poll(
        async () => {
          const asked = { jobId: failed.jobId, minPosition: 0n };
          const { job } = await world.clients.jobs.getJob(asked);
          return [job?.generation, job?.state];
        },
        { timeout: 60_000 },
      )
      .toEqual([3, JobState.FAILED]);
    await page.reload();
    await isLive(page);
    await expect.poll(() => page.locator("input[name=job]").count(), { timeout: 60_000 }).toBe(2);
    await page.check("[data-all]");
    await page.waitForSelector("text=2 selected");
    await page.click("button:text-is('Forget all')");
    await page.click("#confirm-yes");
    await page.waitForSelector("text=2 jobs of 2 will leave the list.");
    await page.waitForSelector("text=No failed job.");
  });

  test("jobs are searched by state, name, tag, beginning of the id, and what is no id is told", async () => {
    const page = await signedIn();
    await page.goto(`${url}/jobs`);
    await isLive(page);
    await page.selectOption("select[name=state]", "JOB_STATE_COMPLETED");
    await page.fill("input[name=id]", "first-c");
    // The page is renewed meanwhile; what is being written stays.
    await clean({}, "clean-meanwhile");
    await page.waitForSelector("[title=clean-meanwhile]");
    await page.click("button:text-is('Search')");
    await page.waitForURL(/state=JOB_STATE_COMPLETED/);
    await page.waitForSelector("[title=first-clean]");
    expect(await page.locator("tbody tr").count()).toBe(1);
    await page.fill("input[name=name]", "site.provision");
    await page.click("button:text-is('Search')");
    await page.waitForSelector("text=No job is like this.");
    const answer = await page.goto(`${url}/jobs?site=${encodeURIComponent("no id!")}`);
    expect(answer?.status()).toBe(400);
    expect(await page.locator("main").textContent()).toContain("site_id");
  });

  test("batches and chains show how far they are", async () => {
    const page = await signedIn();
    await page.goto(`${url}/flows`);
    await isLive(page);
    const step = { jobName: "backup.clean", inputJson: "{}" };
    await world.clients.flows.createBatch({
      ...{ requestId: newId("batch"), moreFollow: false },
      spec: BatchSpec.fromPartial({ name: "three cleanings", jobs: [step, step, step] }),
    });
    await world.clients.flows.createChain({
      ...{
        requestId: newId("chain"),
        spec: ChainSpec.fromPartial({ name: "two", links: [step, step] }),
      },
    });
    const row = page.locator("tbody tr", { hasText: "three cleanings" });
    await row.locator("text=3 of 3 done").waitFor();
    expect(await row.locator("progress").getAttribute("value")).toBe("100");
    await page.locator("tbody tr", { hasText: "two" }).locator("text=completed").waitFor();
    await picture(page, "flows");
  });

  test("a schedule is paused and goes on", async () => {
    const { scheduleId } = await world.clients.schedules.createSchedule({
      requestId: newId("schedule"),
      spec: ScheduleSpec.fromPartial({
        ...{ name: "nightly", cron: "30 3 * * *", jobName: "backup.clean", inputJson: "{}" },
      }),
    });
    const page = await signedIn();
    await page.goto(`${url}/schedules`);
    const row = page.locator("tbody tr", { hasText: "nightly" });
    await row.locator("text=active").waitFor();
    await picture(page, "schedules");
    await row.locator("button", { hasText: "Pause" }).click();
    await page.waitForURL(new RegExp(`/schedules/${scheduleId}\\?did=schedule-pause&at=\\d+$`));
    await page.waitForSelector(".headline >> text=paused");
    await page.click("button:text-is('Resume')");
    await page.waitForSelector(".headline >> text=active");
    await page.waitForSelector("text=03:30:00 UTC");
  });

  test("a site shows everything that was written down of it", async () => {
    const page = await signedIn();
    await page.goto(`${url}/sites`);
    await page.click("text=shop.chom.test");
    await page.waitForURL(`${url}/sites/${site.siteId}`);
    const history = page.locator("section", { hasText: "History" }).first();
    for (const fact of ["Site provisioned", "Backup completed", "Certificate issued"]) {
      await history.locator(`text=${fact}`).first().waitFor();
    }
    await picture(page, "site");
  });

  test("servers show their state and the age of their key", async () => {
    const page = await signedIn();
    await page.goto(`${url}/servers`);
    const row = page.locator("tbody tr", { hasText: "web1" });
    expect(await row.textContent()).toContain("active");
    expect(await row.textContent()).toContain("0 days");
    await row.locator("a", { hasText: "web1" }).click();
    await page.waitForSelector("text=SHA256:");
    await picture(page, "server");
  });

  const paths = () => [
    ...["/", "/jobs", "/failed", "/flows", "/schedules", "/sites", "/servers", "/alerts?all=1"],
    ...[`/jobs/${failed.jobId}`, `/sites/${site.siteId}`],
  ];

  /** What the checker of accessibility finds, by rule and place. */
  async function barriers(page: Page): Promise<string[]> {
    await page.evaluate(axe.source);
    return page.evaluate(async () => {
      type Found = { id: string; nodes: { target: unknown[]; failureSummary?: string }[] };
      const { axe } = globalThis as unknown as { axe: { run(): Promise<{ violations: Found[] }> } };
      const { violations } = await axe.run();
      return violations.flatMap(({ id, nodes }) =>
        nodes.map((node) => `${id} at ${String(node.target[0])}: ${node.failureSummary ?? ""}`),
      );
    });
  }

  test("every page is free of barriers, in light and dark", async () => {
    const page = await signedIn();
    const found: Record<string, string[]> = {};
    for (const path of paths()) {
      await page.goto(url + path);
      for (const colorScheme of ["light", "dark"] as const) {
        await page.emulateMedia({ colorScheme });
        const problems = await barriers(page);
        if (problems.length > 0) found[`${path} ${colorScheme}`] = problems;
      }
    }
    // A live page that hears of its lost session goes to the sign-in itself, and would cut this navigation off.
    await page.goto("about:blank");
    await page.context().clearCookies();
    await page.goto(url);
    found["sign-in"] = await barriers(page);
    expect(found).toEqual({ "sign-in": [] });
    // Twenty looks of a thorough checker: seconds on a quiet machine, minutes on a busy one.
  }, 600_000);

  test("a phone scrolls no page sideways", async () => {
    const page = await signedIn();
    await page.setViewportSize({ width: 375, height: 740 });
    const wide: string[] = [];
    for (const path of paths()) {
      await page.goto(url + path);
      const widths = "[document.documentElement.scrollWidth, innerWidth]";
      const [content, window] = await page.evaluate<number[]>(widths);
      if ((content ?? 0) > (window ?? 0)) wide.push(`${path}: ${content}`);
      if (path === "/" || path === "/jobs") await picture(page, `phone${path.replace("/", "-")}`);
    }
    expect(wide).toEqual([]);
  });

  test("the keyboard alone leads from the skip link to a job", async () => {
    const page = await signedIn();
    await page.goto(`${url}/jobs?id=first-clean`);
    await page.keyboard.press("Tab");
    expect(await page.evaluate("document.activeElement?.textContent")).toBe("Skip to content");
    await page.keyboard.press("Enter");
    expect(await page.evaluate("document.activeElement?.id")).toBe("main");
    const seen: string[] = [];
    for (let presses = 0; presses < 40 && !seen.includes("first-clean"); presses += 1) {
      await page.keyboard.press("Tab");
      const at = await page.evaluate<{ name: string; outline: string }>(`({
      name: document.activeElement.getAttribute("title") ?? document.activeElement.tagName,
      outline: getComputedStyle(document.activeElement).outlineStyle,
    })`);
      expect([at.name, at.outline]).toEqual([at.name, "solid"]);
      seen.push(at.name);
    }
    await page.keyboard.press("Enter");
    await page.waitForURL(`${url}/jobs/first-clean`);
  });

  test("a page says when it is not live, and is again when services and dashboard are back", async () => {
    const page = await signedIn();
    await page.goto(`${url}/jobs`);
    await isLive(page);
    await world.stack.services.scheduler.kill();
    await page.waitForSelector('#live[data-state="waiting"]');
    await world.stack.services.scheduler.restart();
    await isLive(page);
    await world.stack.dashboard.kill();
    await page.waitForSelector('#live[data-state="lost"]');
    await picture(page, "not-live");
    await world.stack.dashboard.restart();
    await isLive(page);
    const { jobId } = await clean();
    await page.waitForSelector(`[title="${jobId}"]`);
  }, 120_000);

  test("signing out ends the session", async () => {
    const page = await signedIn();
    await page.click("text=Sign out");
    await page.waitForURL(`${url}/sign-in`);
    await page.goto(`${url}/jobs`);
    expect(page.url()).toBe(`${url}/sign-in`);
  });
});
