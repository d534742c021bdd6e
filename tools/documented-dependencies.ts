/** Which runtime dependencies have no line in the decision page, and which lines no dependency. Pure. */

export type Manifest = {
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
};

/** Names in backticks in the first column of the page's table. */
export const documented = (page: string): readonly string[] =>
  page.split("\n").flatMap((line) => {
    const first = line.startsWith("| `") ? (line.split("|")[1] ?? "") : "";
    return [...first.matchAll(/`([^`]+)`/g)].map(([, name]) => name ?? "");
  });

/** One line a difference, in order; empty when manifests and page agree. Packages of the workspace do not count. */
export function differences(manifests: readonly Manifest[], page: string): string[] {
  const used = new Set(
    manifests.flatMap(({ dependencies = {}, optionalDependencies = {} }) =>
      Object.entries({ ...dependencies, ...optionalDependencies })
        .filter(([, version]) => !version.startsWith("workspace:"))
        .map(([name]) => name),
    ),
  );
  const known = new Set(documented(page));
  return [
    ...[...used].filter((name) => !known.has(name)).map((name) => `${name} has no line`),
    ...[...known].filter((name) => !used.has(name)).map((name) => `${name} is used by no package`),
  ].toSorted();
}
