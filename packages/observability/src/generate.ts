/** Writes deploy/observability anew: the rules and the dashboards. */
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { deployed } from "./deployed.ts";

for (const { path, content } of deployed) {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, content);
}
console.log(`${deployed.length} files written`);
