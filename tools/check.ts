/** Every check but the tests, one after another; names all that failed and exits 1. */
import { execFileSync, spawnSync } from "node:child_process";
import { globSync } from "node:fs";

type Check = { name: string; command: string; args: string[] };

const bin = (name: string): string => `node_modules/.bin/${name}`;

/** A clone without history has nothing to compare the contracts with. */
function breakingBase(): string | undefined {
  const found = spawnSync("git", ["rev-parse", "--verify", "--quiet", "HEAD~1:proto"]);
  return found.status === 0 ? ".git#ref=HEAD~1" : undefined;
}

const scripts = globSync("{packages,services}/*/src/**/*.sh");
const base = breakingBase();

const checks: Check[] = [
  { name: "format and lint", command: bin("biome"), args: ["ci", "--max-diagnostics=60", "."] },
  { name: "type-aware lint", command: bin("oxlint"), args: ["--type-aware", "."] },
  { name: "types", command: bin("tsc"), args: ["--noEmit", "-p", "tsconfig.json"] },
  {
    name: "types of the browser's modules",
    command: bin("tsc"),
    args: ["--noEmit", "-p", "services/dashboard/client/tsconfig.json"],
  },
  {
    name: "import rules",
    command: bin("depcruise"),
    args: ["--config", ".dependency-cruiser.cjs", "packages", "services"],
  },
  { name: "unused exports", command: bin("knip"), args: ["--no-progress"] },
  {
    name: "documented dependencies",
    command: process.execPath,
    args: ["tools/check-dependencies.ts"],
  },
  { name: "conformance list", command: process.execPath, args: ["tools/check-conformance.ts"] },
  { name: "runbooks", command: process.execPath, args: ["tools/check-runbooks.ts"] },
  { name: "supply chain", command: process.execPath, args: ["tools/sbom.ts", "--check"] },
  {
    name: "security cases",
    command: process.execPath,
    args: ["tools/security-cases.ts", "--check"],
  },
  {
    name: "kubernetes manifests",
    command: process.execPath,
    args: ["packages/deploy/src/check-manifests.ts"],
  },
  { name: "duplicates", command: bin("jscpd"), args: ["packages", "services", "tools"] },
  { name: "proto lint", command: bin("buf"), args: ["lint"] },
  ...(base
    ? [{ name: "proto compatibility", command: bin("buf"), args: ["breaking", "--against", base] }]
    : []),
  { name: "generated code is fresh", command: process.execPath, args: ["tools/gen-fresh.ts"] },
  {
    name: "references are fresh",
    command: process.execPath,
    args: ["tools/contract-docs.ts", "--check"],
  },
  {
    name: "list of the runner's scripts",
    command: process.execPath,
    args: ["tools/runner-list.ts", "--check"],
  },
  {
    name: "shell scripts",
    command: process.execPath,
    args: ["tools/shellcheck.ts", ...scripts],
  },
];

const failed = checks.filter(({ name, command, args }) => {
  const startedAt = Date.now();
  const { status } = spawnSync(command, args, { stdio: "inherit" });
  console.log(`${status === 0 ? "ok  " : "FAIL"} ${name} (${Date.now() - startedAt} ms)`);
  return status !== 0;
});

if (failed.length > 0) {
  console.error(`failed: ${failed.map(({ name }) => name).join(", ")}`);
  process.exit(1);
}
// A check that rewrote a file would make the next run green and this one a lie.
execFileSync("git", ["diff", "--exit-code", "--stat", "--", "packages/proto/gen"], {
  stdio: "inherit",
});
