/** Fails when decision 0007 and the runtime dependencies of the workspace's packages differ. */
import { globSync, readFileSync } from "node:fs";
import { differences, type Manifest } from "./documented-dependencies.ts";

const page = "docs/decisions/0007-runtime-dependencies.md";
const files = ["package.json", ...globSync("{packages,services}/*/package.json")];
const manifests = files.map((file) => JSON.parse(readFileSync(file, "utf8")) as Manifest);
const found = differences(manifests, readFileSync(page, "utf8"));
for (const line of found) console.error(`${page}: ${line}`);
process.exit(found.length === 0 ? 0 : 1);
