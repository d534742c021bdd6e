/** Reads pnpm-lock.yaml (version 9) as far as the supply chain asks: what is installed, from where, and for what. Pure. */

export type Locked = {
  readonly name: string;
  readonly version: string;
  /** `sha512-…`; empty when the lockfile has none. */
  readonly integrity: string;
  /** How it is fetched when that is not the registry: a tarball's address, a repository, a folder. */
  readonly elsewhere: string;
  /** Made for one system only, so perhaps not installed here. */
  readonly isForSystem: boolean;
};

export type Lockfile = {
  readonly packages: readonly Locked[];
  /** Direct dependencies by folder: name, what package.json asks for, and whether at run time. */
  readonly importers: readonly {
    readonly folder: string;
    readonly name: string;
    readonly specifier: string;
    readonly version: string;
    readonly isRuntime: boolean;
  }[];
  /** By `name@version`: what it needs, as `name@version`. */
  readonly needs: ReadonlyMap<string, readonly string[]>;
};

const unquoted = (text: string): string => text.trim().replace(/^'(.*)'$/, "$1");
/** `a@1.0.0(b@2.0.0)` is `a@1.0.0`, whatever it was installed beside. */
const plain = (id: string): string => id.replace(/\(.*$/, "");

function sectionsOf(text: string): ReadonlyMap<string, readonly string[]> {
  const sections = new Map<string, string[]>();
  let lines: string[] = [];
  for (const line of text.split("\n")) {
    const [, name] = /^(\w+):/.exec(line) ?? [];
    if (name) {
      lines = [];
      sections.set(name, lines);
    } else if (line.trim() !== "") lines.push(line);
  }
  return sections;
}

/** Entries of a section: the key at two spaces, and the lines below it. */
function entriesOf(lines: readonly string[]): [string, string[]][] {
  const entries: [string, string[]][] = [];
  for (const line of lines) {
    const [, key] = /^ {2}(\S.*?):(?: \{\})?$/.exec(line) ?? [];
    if (key) entries.push([unquoted(key), []]);
    else entries.at(-1)?.[1].push(line);
  }
  return entries;
}

function lockedOf([id, lines]: [string, string[]]): Locked {
  const at = id.lastIndexOf("@");
  const text = lines.join("\n");
  const [, resolution = ""] = /resolution: \{(.*)\}/.exec(text) ?? [];
  const [, integrity = ""] = /integrity: ([^,}\s]+)/.exec(resolution) ?? [];
  const elsewhere = /(?:tarball|repo|directory|commit|type):[^}]*/.exec(resolution)?.[0] ?? "";
  const isForSystem = /^ {4}(?:os|cpu|libc):/m.test(text);
  return { name: id.slice(0, at), version: id.slice(at + 1), integrity, elsewhere, isForSystem };
}

function needsOf(lines: readonly string[]): string[] {
  return lines.flatMap((line) => {
    const [, name, version] = /^ {6}(\S+): (\S+)$/.exec(line) ?? [];
    return name && version ? [plain(`${unquoted(name)}@${unquoted(version)}`)] : [];
  });
}

function importsOf([folder, lines]: [string, string[]]): Lockfile["importers"] {
  let isRuntime = false;
  let name = "";
  let specifier = "";
  return lines.flatMap((line) => {
    const [, kind] = /^ {4}(\w+):$/.exec(line) ?? [];
    if (kind) isRuntime = kind !== "devDependencies";
    name = unquoted(/^ {6}(\S+):$/.exec(line)?.[1] ?? name);
    specifier = unquoted(/^ {8}specifier: (.+)$/.exec(line)?.[1] ?? specifier);
    const [, version] = /^ {8}version: (\S+)$/.exec(line) ?? [];
    return version
      ? [{ folder, name, specifier, version: plain(unquoted(version)), isRuntime }]
      : [];
  });
}

/** The lockfile's text, read. */
export function parseLockfile(text: string): Lockfile {
  const sections = sectionsOf(text);
  const of = (name: string) => entriesOf(sections.get(name) ?? []);
  return {
    packages: of("packages").map(lockedOf),
    importers: of("importers").flatMap(importsOf),
    needs: new Map(of("snapshots").map(([id, lines]) => [plain(id), needsOf(lines)])),
  };
}

/** `name@version` of everything that some package of the workspace needs at run time, directly or not. */
export function runtimeIds({ importers, needs }: Lockfile): ReadonlySet<string> {
  const found = new Set<string>();
  const queue = importers
    .filter(({ isRuntime, version }) => isRuntime && !version.startsWith("link:"))
    .map(({ name, version }) => `${name}@${version}`);
  for (const id of queue) {
    if (found.has(id)) continue;
    found.add(id);
    queue.push(...(needs.get(id) ?? []));
  }
  return found;
}
