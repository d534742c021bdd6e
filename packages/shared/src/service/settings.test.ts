import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import {
  address,
  durationMs,
  flag,
  int,
  list,
  oneOf,
  readSettings,
  secretFile,
  text,
  url,
} from "./settings.ts";

const readers = {
  name: text("CHOM_NAME"),
  mode: oneOf("CHOM_MODE", ["fast", "safe"], { fallback: "safe" }),
  server: url("CHOM_SERVER"),
  listen: address("CHOM_LISTEN"),
  count: int("CHOM_COUNT", { min: 1, max: 10, fallback: 3 }),
  every: durationMs("CHOM_EVERY", { min: 1_000, max: 3_600_000 }),
  on: flag("CHOM_ON", { fallback: false }),
  hosts: list("CHOM_HOSTS", { fallback: undefined }),
};
const good = {
  CHOM_NAME: "x",
  CHOM_SERVER: "https://ca.example/dir",
  CHOM_LISTEN: "[::1]:0",
  CHOM_EVERY: "15m",
};
const problems = (environment: Record<string, string | undefined>): string => {
  try {
    readSettings(readers, environment);
  } catch (error) {
    return (error as Error).message;
  }
  return "";
};

test("values are read, converted and frozen", () => {
  const settings = readSettings(readers, {
    ...good,
    CHOM_ON: "true",
    CHOM_HOSTS: "a, b,,",
    PATH: "/bin",
  });
  expect(settings).toEqual({
    ...{ name: "x", mode: "safe", server: "https://ca.example/dir", listen: "[::1]:0" },
    ...{ count: 3, every: 900_000, on: true, hosts: ["a", "b"] },
  });
  expect(Object.isFrozen(settings)).toBe(true);
});

test("all bad settings are told at once, without their values", () => {
  const told = problems({
    ...{ CHOM_NAME: "", CHOM_MODE: "hunter22", CHOM_SERVER: "hunter22", CHOM_LISTEN: "host:70000" },
    ...{ CHOM_COUNT: "1e1", CHOM_EVERY: "1w", CHOM_ON: "yes", CHOM_NAMES: "hunter22" },
  });
  for (const name of ["NAME", "MODE", "SERVER", "LISTEN", "COUNT", "EVERY", "ON", "NAMES"]) {
    expect(told).toMatch(new RegExp(`^  CHOM_${name} `, "m"));
  }
  expect(told).toContain("CHOM_NAMES is not a setting of this service");
  expect(told).not.toContain("hunter22");
});

test.each([
  ["CHOM_COUNT", "0"],
  ["CHOM_COUNT", "11"],
  ["CHOM_COUNT", "0x5"],
  ["CHOM_EVERY", "999ms"],
  ["CHOM_EVERY", "2h"],
  ["CHOM_EVERY", "-5s"],
  ["CHOM_LISTEN", "8080"],
  ["CHOM_LISTEN", "a b:1"],
])("%s=%s is refused", (name, value) => {
  expect(problems({ ...good, [name]: value })).toContain(`${name} must be`);
});

test("a secret is read from a file that others cannot read, and never shown", () => {
  const folder = mkdtempSync(join(tmpdir(), "settings-"));
  try {
    const path = join(folder, "secret");
    writeFileSync(path, "hunter22\n", { mode: 0o600 });
    const of = { secret: secretFile("CHOM_SECRET_FILE") };
    const settings = readSettings(of, { CHOM_SECRET_FILE: path });
    expect(settings.secret.reveal()).toBe("hunter22");
    expect(JSON.stringify(settings)).not.toContain("hunter22");
    chmodSync(path, 0o604);
    expect(() => readSettings(of, { CHOM_SECRET_FILE: path })).toThrow(`chmod 600 ${path}`);
    expect(() => readSettings(of, { CHOM_SECRET_FILE: folder })).toThrow("no file");
    expect(() => readSettings(of, { CHOM_SECRET_FILE: join(folder, "no") })).toThrow(
      "cannot be read",
    );
  } finally {
    rmSync(folder, { recursive: true });
  }
});
