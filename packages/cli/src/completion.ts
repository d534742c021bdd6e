/** Shell completion, written from the commands themselves: the script is static, so that a Tab costs no start of Node. */
import type { Command, Option } from "commander";

export type Shell = "bash" | "zsh" | "fish";
const shells: readonly Shell[] = ["bash", "zsh", "fish"];

/** One command as a shell sees it: the words that lead to it, and what may follow. */
type Node = {
  /** `job list`; empty for the program itself. */
  readonly path: string;
  readonly names: readonly { readonly name: string; readonly about: string }[];
  readonly options: readonly Option[];
};

const visible = (command: Command) =>
  command
    .createHelp()
    .visibleCommands(command)
    .filter((each) => each.name() !== "help");

/** Commands, aliases and choices of the first argument that may follow a command. */
function namesOf(command: Command): Node["names"] {
  const children = visible(command).flatMap((child) =>
    [child.name(), ...child.aliases()].map((name) => ({ name, about: child.description() })),
  );
  const choices = command.registeredArguments[0]?.argChoices ?? [];
  return [...children, ...choices.map((name) => ({ name, about: "" }))];
}

function nodesOf(command: Command, path: readonly string[] = []): Node[] {
  const options = command.createHelp().visibleOptions(command);
  const here: Node = { path: path.join(" "), names: namesOf(command), options };
  return [
    here,
    ...visible(command).flatMap((child) =>
      [child.name(), ...child.aliases()].flatMap((name) => nodesOf(child, [...path, name])),
    ),
  ];
}

const flagsOf = (option: Option): string[] =>
  [option.long, option.short].filter((flag) => flag != null);
const takesValue = (option: Option): boolean => option.required || option.optional;
const wantsFile = (option: Option): boolean => /<(?:file|folder|path)>/.test(option.flags);

/** Within single quotes of a shell. */
const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;
const firstLine = (text: string): string => text.split("\n")[0] ?? "";

/** The words after an option that has choices, keyed by `<path> <flag>`. */
function choicesOf(nodes: readonly Node[]): { key: string; words: string }[] {
  return nodes.flatMap(({ path, options }) =>
    options.flatMap((option) =>
      option.argChoices
        ? flagsOf(option).map((flag) => ({
            key: `${path} ${flag}`,
            words: option.argChoices?.join(" ") ?? "",
          }))
        : [],
    ),
  );
}

const caseLines = (entries: readonly { key: string; words: string }[], variable: string): string =>
  entries.map(({ key, words }) => `    ${quoted(key)}) ${variable}=${quoted(words)} ;;`).join("\n");

/** What the commands are, as functions that bash looks things up with. */
function tables(program: string, nodes: readonly Node[]): string {
  const of = (words: (node: Node) => readonly string[]) =>
    nodes.map((node) => ({ key: node.path, words: words(node).join(" ") }));
  return `_${program}_words() {
  case "$1" in
${caseLines(
  of(({ names }) => names.map(({ name }) => name)),
  "names",
)}
  esac
  case "$1" in
${caseLines(
  of(({ options }) => options.flatMap(flagsOf)),
  "flags",
)}
  esac
}
_${program}_values() {
  case "$1" in
${caseLines(choicesOf(nodes), "values")}
    *) return 1 ;;
  esac
}`;
}

/** Walks along the line to the command that is being typed, and leaves the walk's variables to its caller. */
const walk = (program: string, valued: string): string => `_${program}_walk() {
  local word index
  # By blanks: bash itself would break words such as backup:database at the colon.
  read -r -a words <<<"$line"
  case "$line" in *[[:space:]]) words+=('') ;; esac
  current="\${words[\${#words[@]} - 1]}"
  previous="\${words[\${#words[@]} - 2]}"
  _${program}_words ''
  for ((index = 1; index < \${#words[@]} - 1; index++)); do
    word="\${words[index]}"
    if ((skip)); then skip=0; continue; fi
    case "$word" in
      ${valued}) skip=1; continue ;;
    esac
    case " $names " in
      *" $word "*) ;;
      *) continue ;;
    esac
    names='' flags=''
    _${program}_words "\${path:+$path }$word"
    # No command but the choice of an argument: the options stay those of the command.
    if [ -n "$flags" ]; then path="\${path:+$path }$word"; else _${program}_words "$path"; names=''; fi
  done
}`;

const complete = (program: string, files: string): string => `_${program}() {
  local current previous path='' names='' flags='' values='' skip=0 line="\${COMP_LINE:0:$COMP_POINT}"
  local -a words
  _${program}_walk
  COMPREPLY=()
  case "$previous" in
    ${files}) COMPREPLY=($(compgen -f -- "$current")); return ;;
  esac
  if _${program}_values "$path $previous"; then
    COMPREPLY=($(compgen -W "$values" -- "$current"))
  elif ((skip)); then
    return
  elif [ "\${current:0:1}" = - ]; then
    COMPREPLY=($(compgen -W "$flags" -- "$current"))
  else
    COMPREPLY=($(compgen -W "$names" -- "$current"))
  fi
  # Readline replaces only what follows the last colon.
  case "$current" in
    *:*) case "$COMP_WORDBREAKS" in *:*) COMPREPLY=("\${COMPREPLY[@]#"\${current%:*}:"}") ;; esac ;;
  esac
}
complete -F _${program} ${program}`;

function bash(program: string, nodes: readonly Node[]): string {
  const flagged = (which: (option: Option) => boolean) =>
    [...new Set(nodes.flatMap((node) => node.options.filter(which).flatMap(flagsOf)))].join("|") ||
    "''";
  return `# bash completion for ${program}. Load it with: source <(${program} completion bash)
${tables(program, nodes)}
${walk(program, flagged(takesValue))}
${complete(program, flagged(wantsFile))}
`;
}

/** zsh runs bash's functions through its own emulation of them. */
const zsh = (program: string, nodes: readonly Node[]): string =>
  `# zsh completion for ${program}. Load it with: source <(${program} completion zsh)
autoload -U +X compinit && compinit -u
autoload -U +X bashcompinit && bashcompinit
${bash(program, nodes).replace("read -r -a words", "read -r -A words")}`;

function fish(program: string, nodes: readonly Node[]): string {
  const children = new Set(nodes.map(({ path }) => path.split(" ").slice(0, -1).join(" ")));
  const lines = nodes.flatMap(({ path, names, options }) => {
    const at = (where: string) => `-n ${quoted(`__${program}_${where} ${path}`.trim())}`;
    const condition = at("at");
    // Arguments may stand between a command and its options.
    const within = children.has(path) ? condition : at("in");
    const words = names.map(({ name, about }) => {
      return `complete -c ${program} ${condition} -f -a ${quoted(name)} -d ${quoted(firstLine(about))}`;
    });
    const flags = options.map((option) => {
      const long = option.long ? ` -l ${option.long.replace(/^--/, "")}` : "";
      const short = option.short ? ` -s ${option.short.replace(/^-/, "")}` : "";
      const value = takesValue(option) ? (wantsFile(option) ? " -r -F" : " -x") : " -f";
      const choices = option.argChoices ? ` -a ${quoted(option.argChoices.join(" "))}` : "";
      return `complete -c ${program} ${within}${long}${short}${value}${choices} -d ${quoted(firstLine(option.description))}`;
    });
    return [...words, ...flags];
  });
  return `# fish completion for ${program}. Load it with: ${program} completion fish | source
function __${program}_at
    set -l words (commandline -opc)
    set -e words[1]
    set -l plain (string match -v -- '-*' $words)
    test "$plain" = "$argv"
end
function __${program}_in
    set -l words (commandline -opc)
    set -e words[1]
    set -l plain (string match -v -- '-*' $words)
    test "$plain[1..$(count $argv)]" = "$argv"
end
complete -c ${program} -f
${lines.join("\n")}
`;
}

/** The completion script of a program for a shell. */
export function completionScript(program: Command, shell: Shell): string {
  const nodes = nodesOf(program);
  const write = { bash, zsh, fish }[shell];
  return write(program.name(), nodes);
}

const examples = `
source <(chom completion bash)                                        # now
chom completion bash > /etc/bash_completion.d/chom                     # from now on
chom completion zsh > ~/.chom-completion.zsh                           # and source it in .zshrc
chom completion fish > ~/.config/fish/completions/chom.fish`;

/** Adds the command; call it last, when all others are there. */
export function completionCommands(program: Command): void {
  program
    .command("completion <shell>")
    .description("Print the completion script of a shell: bash, zsh or fish.")
    .addHelpText("after", `\nExamples:${examples.replace(/^(?=.)/gm, "  ")}`)
    .action((shell: string, _options: object, command: Command) => {
      const known = shells.find((each) => each === shell);
      if (!known) return command.error(`error: the shell must be one of ${shells.join(", ")}`);
      return void process.stdout.write(completionScript(program, known));
    });
}
