/** A real browser for tests: Debian's chromium, driven by playwright, with an empty profile and nothing in its background. */
import { mkdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { ensureHostProgram } from "@chom/stack/apt";
import { toStderr } from "@chom/stack/progress";
import { scratchFolder } from "@chom/stack/scratch-folder";
import { type BrowserContext, chromium, type Page } from "playwright-core";

const flags = [
  ...["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"],
  ...["--disable-background-networking", "--disable-component-update", "--disable-sync"],
  "--disable-dev-shm-usage",
];

/** Kept by every run; ignored by git. */
const pictures = fileURLToPath(new URL("../../../artifacts/screenshots/", import.meta.url));

export type TestBrowser = {
  readonly context: BrowserContext;
  close(): Promise<void>;
};

/** Starts the browser; installs it first where that is allowed. */
export async function startBrowser(): Promise<TestBrowser> {
  const executablePath = await ensureHostProgram("chromium", "chromium", toStderr);
  const profile = scratchFolder("chromium");
  const context = await chromium.launchPersistentContext(profile.path, {
    ...{ executablePath, headless: true, args: flags, reducedMotion: "reduce" },
    viewport: { width: 1_280, height: 860 },
  });
  return {
    context,
    async close() {
      await context.close();
      profile.remove();
    },
  };
}

/** Keeps a picture of the whole page. */
export async function picture(page: Page, name: string): Promise<void> {
  mkdirSync(pictures, { recursive: true });
  await page.screenshot({ path: `${pictures}${name}.png`, fullPage: true });
}
