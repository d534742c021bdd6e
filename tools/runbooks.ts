/** What docs/runbooks tell an operator to run and to look at, and which tests rehearse it. Pure. */

export type Known = {
  /** Commands of `chom` by their words (`job list`), with the words and options that may follow. */
  readonly commands: ReadonlyMap<string, ReadonlySet<string>>;
  readonly alerts: ReadonlySet<string>;
  /** Whether a metric of this name is made anywhere. */
  readonly isMetric: (name: string) => boolean;
  /** Names of the tests in a file; undefined when there is no such file. */
  readonly testsOf: (file: string) => ReadonlySet<string> | undefined;
};

/** What a bash completion of `chom` offers after each command: `'job list') flags='…' ;;`. */
export function commandsOf(completion: string): Known["commands"] {
  const commands = new Map<string, Set<string>>();
  for (const [, path = "", offered = ""] of completion.matchAll(
    /^\s*'([a-z: -]*)'\) (?:names|flags)='([^']*)'/gm,
  )) {
    const known = commands.get(path) ?? new Set();
    for (const word of offered.split(/\s+/)) known.add(word);
    commands.set(path, known);
  }
  return commands;
}

/** The code of a page: spans and blocks. */
const codeOf = (page: string): string[] => [
  ...[...page.matchAll(/```\w*\n([\s\S]*?)```/g)].flatMap(([, block = ""]) => block.split("\n")),
  ...[...page.replaceAll(/```[\s\S]*?```/g, "").matchAll(/`([^`]+)`/g)].map(
    ([, code = ""]) => code,
  ),
];

function strangeCommand(line: string, { commands }: Known): string | undefined {
  const words = line
    .replace(/\s#.*$/, "")
    .trim()
    .split(/\s+/);
  if (words[0] !== "chom") return undefined;
  let path = "";
  for (const word of words.slice(1)) {
    const option = /^--[a-z-]+/.exec(word)?.[0];
    if (option) {
      if (!commands.get(path)?.has(option)) return `chom ${path} has no ${option}`;
      continue;
    }
    const next = path === "" ? word : `${path} ${word}`;
    if (commands.has(next)) path = next;
    else if (path === "") return `there is no chom ${word}`;
    // Else an argument: of a group it would have to be one of its commands.
    else if ([...commands.keys()].some((each) => each.startsWith(`${path} `))) {
      if (/^[a-z][a-z-]*$/.test(word)) return `chom ${path} has no ${word}`;
    }
  }
  return undefined;
}

const rehearsal = /^Rehearsed by: (.+)$/m;

/** Whether a page says which test rehearses it. */
export const isRehearsed = (page: string): boolean => rehearsal.test(page);

function strangeTests(page: string, { testsOf }: Known): string[] {
  const said = rehearsal.exec(page)?.[1] ?? "";
  const named = [...said.matchAll(/`([\w./-]+\.test\.ts)`((?:(?:,| and)? "[^"]+")*)/g)];
  if (said !== "" && named.length === 0) return ["its rehearsal names no test"];
  return named.flatMap(([, file = "", names = ""]) => {
    const tests = testsOf(file);
    if (!tests) return [`there is no ${file}`];
    const quoted = [...names.matchAll(/"([^"]+)"/g)].map(([, name = ""]) => name);
    return quoted.filter((name) => !tests.has(name)).map((name) => `${file} has no test "${name}"`);
  });
}

/** What a page says that is not so. */
export function strangeIn(page: string, known: Known): string[] {
  return [
    ...codeOf(page).flatMap((line) => strangeCommand(line, known) ?? []),
    ...[...new Set(page.match(/\bChom[A-Z]\w*/g) ?? [])]
      .filter((name) => !known.alerts.has(name))
      .map((name) => `there is no alert ${name}`),
    ...[...new Set(page.match(/\bchom_[a-z_]+/g) ?? [])]
      .filter((name) => !known.isMetric(name))
      .map((name) => `there is no metric ${name}`),
    ...strangeTests(page, known),
  ];
}
