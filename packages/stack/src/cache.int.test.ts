import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test, vi } from "vitest";
import { cacheFolder, ensureCached } from "./cache.ts";

function cache(): string {
  const folder = mkdtempSync(join(tmpdir(), "cache-test-"));
  vi.stubEnv("CHOM_CACHE_DIR", folder);
  onTestFinished(() => {
    vi.unstubAllEnvs();
    rmSync(folder, { recursive: true });
  });
  return folder;
}

test("of two builders at once one builds, the other says that it waits", async () => {
  cache();
  const [built, told]: [string[], string[]] = [[], []];
  const build = (who: string) => async (folder: string) => {
    built.push(who);
    await new Promise((done) => setTimeout(done, 50));
    writeFileSync(join(folder, "file"), who);
  };
  const say = (line: string) => void told.push(line);
  const [a, b] = await Promise.all([
    ensureCached("thing", build("a"), say),
    ensureCached("thing", build("b"), say),
  ]);
  expect(a).toBe(b);
  expect(built).toHaveLength(1);
  expect(told).toEqual(["waiting for another process that makes thing"]);
  expect(await ensureCached("thing", build("c"), say)).toBe(a);
  expect(built).toHaveLength(1);
});

test("a build that fails leaves nothing, and the next one starts anew", async () => {
  const folder = cache();
  const fail = async (into: string) => {
    writeFileSync(join(into, "half"), "");
    throw new Error("no");
  };
  await expect(ensureCached("thing", fail, () => {})).rejects.toThrow("no");
  expect(readdirSync(folder)).toEqual([]);
  const path = await ensureCached(
    "thing",
    async () => {},
    () => {},
  );
  expect(existsSync(join(path, "half"))).toBe(false);
});

test("the cache is where its setting, else where the desktop's rules say", () => {
  expect(cacheFolder({ CHOM_CACHE_DIR: "/c", XDG_CACHE_HOME: "/x", HOME: "/h" })).toBe("/c");
  expect(cacheFolder({ XDG_CACHE_HOME: "/x", HOME: "/h" })).toBe("/x/chom");
  expect(cacheFolder({ HOME: "/h" })).toBe("/h/.cache/chom");
});
