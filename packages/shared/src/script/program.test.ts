import { execFileSync } from "node:child_process";
import fc from "fast-check";
import { expect, test } from "vitest";
import type { Failure } from "../failure/failure.ts";
import { Secret } from "../secrets/secret.ts";
import { commandLine, type Launch, openingOf, programOf, stepHash } from "./program.ts";

const launch: Launch = {
  mode: "run",
  tenant: "tenant-1",
  jobId: "job-1",
  fence: "7.42",
  leaseKeys: ["site.b", "site.a"],
  step: "abc",
  timeoutMs: 1_500,
  upload: false,
};
const codeOf = (fn: () => unknown): string => {
  try {
    fn();
  } catch (error) {
    return (error as Failure).code;
  }
  return "";
};
const startOf = (opening: Buffer): string =>
  Buffer.from(opening.toString().split("\n")[0] ?? "", "base64").toString();

test("case 01, 03, 04: any text survives as a variable, and none of it is program", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 300 }), (value) => {
      fc.pre(!value.includes("\0"));
      const line = programOf("", { VALUE: value })
        .split("\n")
        .find((each) => each.startsWith("VALUE="));
      const encoded = /^VALUE=\$\(printf %s '([A-Za-z0-9+/=]*)' \| base64 -d && printf \.\)$/.exec(
        line ?? "",
      );
      expect(Buffer.from(encoded?.[1] ?? "!", "base64")).toEqual(Buffer.from(value));
    }),
  );
});

test("case 08: names that steer a shell, and values that it cannot hold, are refused", () => {
  for (const name of [
    "PATH",
    "IFS",
    "LD_PRELOAD",
    "BASH_ENV",
    "chom_run",
    "a-b",
    "",
    "A=B",
    "1a",
  ]) {
    expect(codeOf(() => programOf("", { [name]: "x" }))).toBe("invalid-config");
  }
  expect(codeOf(() => programOf("", { A: "a\0b" }))).toBe("invalid-config");
});

test("a program parses whatever its script ends with, and removes itself first", () => {
  const program = programOf("true # comment", { A: new Secret("x") });
  expect(program.startsWith('rm -f -- "$0"\n')).toBe(true);
  expect(execFileSync("sh", ["-n"], { input: program, encoding: "utf8" })).toBe("");
});

test("the command line holds nothing of a job", () => {
  expect(commandLine).not.toMatch(/tenant|job|site/);
  expect(commandLine).toContain("sudo -n");
});

test("a launch names sorted keys, the fence in two parts and whole seconds", () => {
  const start = startOf(openingOf(launch, "true"));
  expect(start).toContain("chom_keys='site.a site.b'\n");
  expect(start).toContain("chom_epoch=7\nchom_sequence=42\nchom_timeout=2\n");
  expect(startOf(openingOf({ ...launch, leaseKeys: [] }, ""))).toContain("chom_keys='run.job-1'");
});

test.each([
  { tenant: "a b" },
  { tenant: "$(id)" },
  { jobId: "../x" },
  { leaseKeys: ["a/b"] },
  { leaseKeys: ["a..b"] },
  { leaseKeys: ["1", "2", "3", "4", "5"] },
  { fence: "7" },
  { fence: "7.x" },
  { fence: "7.1;id" },
])("a launch with %j is refused", (more) => {
  expect(codeOf(() => openingOf({ ...launch, ...more }, ""))).toBe("invalid-config");
});

test("a run is named by its step, its script and its values", () => {
  const hash = stepHash("s", "a.sh", { A: "1", B: new Secret("2") });
  expect(stepHash("s", "a.sh", { B: "2", A: "1" })).toBe(hash);
  expect(stepHash("t", "a.sh", { A: "1", B: "2" })).not.toBe(hash);
  expect(stepHash("s", "b.sh", { A: "1", B: "2" })).not.toBe(hash);
  expect(stepHash("s", "a.sh", { A: "1", B: "3" })).not.toBe(hash);
});
