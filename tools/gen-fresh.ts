/** Fails when `packages/proto/gen` is not what `proto/` generates today. Restores nothing: the fresh files stay. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { globSync, readFileSync } from "node:fs";

function digest(): string {
  const hash = createHash("sha256");
  for (const file of globSync("packages/{proto,e2e/src/sixth-family}/gen/**/*.{ts,binpb}").sort()) {
    hash.update(file).update(readFileSync(file));
  }
  return hash.digest("hex");
}

const before = digest();
execFileSync(process.execPath, ["tools/gen.ts"], { stdio: "inherit" });
if (digest() !== before) {
  console.error("packages/proto/gen was stale; it is fresh now: commit it (pnpm gen)");
  process.exit(1);
}
