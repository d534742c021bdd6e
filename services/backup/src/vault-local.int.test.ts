import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import { scratchFolder } from "@chom/stack/scratch-folder";
import { expect, test } from "vitest";
import { vaultConformance } from "./vault-conformance.ts";
import { localVault } from "./vault-local.ts";

async function setup() {
  const folder = scratchFolder("vault-test");
  return {
    path: folder.path,
    vault: localVault(folder.path),
    tamper: (key: string, bytes: Buffer) => writeFile(join(folder.path, key), bytes),
    [Symbol.asyncDispose]: async () => folder.remove(),
  };
}

vaultConformance("folder", setup);

test("what is stored is for its owner alone", async () => {
  await using at = await setup();
  await at.vault.put("t/s/k", Readable.from([Buffer.from("x")]));
  expect(statSync(join(at.path, "t/s/k")).mode & 0o777).toBe(0o600);
  expect(statSync(join(at.path, "t")).mode & 0o777).toBe(0o700);
});

test("what a killed writer left is swept when it is old, and never listed", async () => {
  await using at = await setup();
  await mkdir(join(at.path, ".partial"), { recursive: true });
  writeFileSync(join(at.path, ".partial", "half"), "half");
  expect(await at.vault.list("")).toEqual([]);
  expect(await at.vault.sweep(new Date(0))).toBe(0);
  expect(await at.vault.sweep(new Date(Date.now() + 60_000))).toBe(1);
  expect(readdirSync(join(at.path, ".partial"))).toEqual([]);
});

test("of two writers of one key exactly one wins", async () => {
  await using at = await setup();
  const writes = ["one", "two", "six"].map((text) =>
    at.vault.put("k", Readable.from([Buffer.from(text)])).then(
      () => text,
      () => null,
    ),
  );
  const winners = (await Promise.all(writes)).filter((text) => text !== null);
  expect(winners).toHaveLength(1);
  expect(readFileSync(join(at.path, "k"), "utf8")).toBe(winners[0]);
});
