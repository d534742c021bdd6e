import { execFileSync, spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { Command, Option } from "commander";
import { beforeAll, expect, test } from "vitest";
import { completionScript } from "./completion.ts";

const main = fileURLToPath(new URL("./main.ts", import.meta.url));
let script: string;
beforeAll(() => {
  script = execFileSync(process.execPath, [main, "completion", "bash"], { encoding: "utf8" });
});

/** What bash would offer after a Tab at the end of this line. */
function offered(line: string, from = script): string[] {
  const ask = `
COMP_LINE=$1; COMP_POINT=\${#1}; COMP_WORDBREAKS=$' \\t\\n"\\'><=;|&(:'
complete -p chom >/dev/null || exit 9
_chom
printf '%s\\n' "\${COMPREPLY[@]}"`;
  const { stdout, stderr, status } = spawnSync(
    "bash",
    ["--norc", "-c", `${from}${ask}`, "-", line],
    {
      encoding: "utf8",
    },
  );
  expect({ stderr, status }).toEqual({ stderr: "", status: 0 });
  return stdout.split("\n").filter((word) => word !== "");
}

test("bash completes commands, subcommands and their beginnings", () => {
  expect(offered("chom ")).toEqual(expect.arrayContaining(["site", "job", "work", "completion"]));
  expect(offered("chom top")).toEqual(["topology"]);
  expect(offered("chom topology ")).toEqual(["plan", "check", "apply"]);
  expect(offered("chom topology a")).toEqual(["apply"]);
});

test("bash completes the options of the command on the line, and no others", () => {
  const flags = offered("chom work --");
  expect(flags).toEqual(expect.arrayContaining(["--queue", "--once", "--stop-when-empty"]));
  expect(flags).not.toContain("--domain");
  expect(offered("chom site provision --do")).toEqual(["--domain"]);
  expect(offered("chom site provision --domain example.org --k")).toEqual(["--kind"]);
});

test("bash completes the choices of an argument, and offers nothing for free text", () => {
  expect(offered("chom work ")).toEqual(["backup", "provisioning", "ssl", "credentials"]);
  expect(offered("chom work b")).toEqual(["backup"]);
  expect(offered("chom work backup --o")).toEqual(["--once"]);
  expect(offered("chom site list --server ")).toEqual([]);
});

test("bash completes files where an option wants one", () => {
  expect(offered(`chom work backup --env-file ${main.slice(0, -3)}`)).toEqual([main]);
});

test("a word with a colon is completed behind the colon, as readline wants it", () => {
  const program = new Command("chom");
  program.command("backup:database").addOption(new Option("--level <l>").choices(["low", "top"]));
  program.command("backup:clean");
  const made = completionScript(program, "bash");
  expect(offered("chom back", made)).toEqual(["backup:database", "backup:clean"]);
  expect(offered("chom backup:d", made)).toEqual(["database"]);
  expect(offered("chom backup:database --level ", made)).toEqual(["low", "top"]);
});

/** Whether a shell can be tried on this machine; said aloud when not, because what is not tried is no proof. */
function isHere(shell: string): boolean {
  const isThere = spawnSync(shell, ["-c", "true"]).status === 0;
  if (!isThere) process.stderr.write(`completion of ${shell} is not tried: it is not here\n`);
  return isThere;
}
const lines = ["chom top", "chom topology a", "chom work b", "chom work backup --on"];
const ends = ["topology", "apply", "backup", "--once"];

if (isHere("zsh")) {
  test("zsh completes as bash does", () => {
    const made = execFileSync(process.execPath, [main, "completion", "zsh"], { encoding: "utf8" });
    const ask = `COMP_LINE=$1; COMP_POINT=\${#1}; (emulate ksh; _chom; print -rl -- "\${COMPREPLY[@]}")`;
    // What does not begin with the word at the cursor is left out by zsh itself.
    const fits = (line: string, word: string) => word.startsWith(line.split(" ").at(-1) ?? "");
    const found = lines.flatMap((line) =>
      execFileSync("zsh", ["-f", "-c", `${made}\n${ask}`, "-", line], { encoding: "utf8" })
        .split("\n")
        .filter((word) => word !== "" && fits(line, word)),
    );
    expect(found).toEqual(ends);
  });
}

if (isHere("fish")) {
  test("fish completes as bash does", () => {
    const made = execFileSync(process.execPath, [main, "completion", "fish"], { encoding: "utf8" });
    const found = lines.map((line) =>
      execFileSync("fish", ["--no-config", "-c", `${made}\ncomplete -C ${JSON.stringify(line)}`], {
        encoding: "utf8",
      }),
    );
    expect(found.map((text) => text.split(/[\t\n]/)[0])).toEqual(ends);
  });
}

test("help texts cannot break out of the scripts", () => {
  const program = new Command("chom");
  program.command("odd").description("it's $(touch /tmp/never) `x`").option("--a <b>", "'; exit 3");
  for (const shell of ["bash", "zsh", "fish"] as const) {
    const made = completionScript(program, shell);
    if (shell === "bash") expect(offered("chom o", made)).toEqual(["odd"]);
    if (shell === "fish") expect(made).toContain("'it'\\''s $(touch /tmp/never) `x`'");
  }
});

test("an unknown shell is a usage error", () => {
  expect(spawnSync(process.execPath, [main, "completion", "tcsh"]).status).toBe(2);
});
