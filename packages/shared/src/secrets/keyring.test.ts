import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import { keyring, parseRootKeys, readRootKeys } from "./keyring.ts";

const base64 = (seed: string) => createHash("sha256").update(seed).digest("base64");
const fixedNonce = (bytes: number) => Buffer.alloc(bytes, 7);
const ring = (text: string) => keyring(parseRootKeys(text), fixedNonce);
const plain = Buffer.from("the input of a job");
const code = (run: () => unknown) => {
  try {
    run();
  } catch (error) {
    return (error as { code: string }).code;
  }
  return "nothing thrown";
};

test("what was sealed opens with the same tenant and context only", () => {
  const sealer = ring(`k1 ${base64("one")}`);
  const sealed = sealer.seal("tenant-a", ["job-1", "input"], plain);
  expect(sealer.open("tenant-a", ["job-1", "input"], sealed)).toEqual(plain);
  expect(sealed.ciphertext.includes(plain)).toBe(false);
  for (const [tenant, context] of [
    ["tenant-b", ["job-1", "input"]],
    ["tenant-a", ["job-2", "input"]],
    ["tenant-a", ["job-1input"]],
    ["tenant-a", ["job-1", "inpu", "t"]],
  ] as const) {
    expect(code(() => sealer.open(tenant, context, sealed))).toBe("seal-broken");
  }
});

test("every changed byte is found", () => {
  const sealer = ring(base64("one"));
  const sealed = sealer.seal("t", ["c"], plain);
  for (let at = 0; at < sealed.ciphertext.length; at += 1) {
    const ciphertext = Buffer.from(sealed.ciphertext);
    ciphertext[at] = (ciphertext[at] ?? 0) ^ 1;
    expect(code(() => sealer.open("t", ["c"], { ...sealed, ciphertext }))).toBe("seal-broken");
  }
  const short = { ...sealed, ciphertext: Buffer.alloc(27) };
  expect(code(() => sealer.open("t", ["c"], short))).toBe("seal-broken");
});

test("a new root in front seals, and the old one still opens and fingerprints", () => {
  const before = ring(`k1 ${base64("one")}`);
  const after = ring(`k2 ${base64("two")}\nk1 ${base64("one")}`);
  const old = before.seal("t", ["c"], plain);
  expect(after.open("t", ["c"], old)).toEqual(plain);
  expect(after.seal("t", ["c"], plain).keyId).toBe("k2");
  expect(after.fingerprint("t", plain)).toBe(before.fingerprint("t", plain));
  expect(after.fingerprint("t", plain)).not.toBe(after.fingerprint("u", plain));
  const gone = ring(`k2 ${base64("two")}`);
  expect(code(() => gone.open("t", ["c"], old))).toBe("key-missing");
});

test("case 42: weak, short, repeated and broken keys are refused without printing them", () => {
  const ascending = Buffer.from(Array.from({ length: 32 }, (_, at) => at)).toString("base64");
  for (const key of [
    Buffer.alloc(32).toString("base64"),
    Buffer.alloc(32, 0xab).toString("base64"),
    Buffer.from("0123".repeat(8)).toString("base64"),
    ascending,
  ]) {
    expect(code(() => parseRootKeys(`k1 ${key}`))).toBe("weak-root-key");
  }
  const good = base64("one");
  for (const text of ["", "# only a comment", "k1 c2hvcnQ=", `K1 ${good}`, `k1 ${good} more`]) {
    expect(code(() => parseRootKeys(text))).toBe("key-file-invalid");
  }
  expect(code(() => parseRootKeys(`k1 ${good}\nk1 ${base64("two")}`))).toBe("key-file-invalid");
  expect(() => parseRootKeys(`k1 ${good} more`)).toThrow(/^line 1 is not/);
});

test("a key file that everyone may read is refused with the remedy", () => {
  const folder = mkdtempSync(join(tmpdir(), "keyring-"));
  try {
    const path = join(folder, "root.key");
    writeFileSync(path, `# made today\n\nk1 ${base64("one")}\n`, { mode: 0o600 });
    expect(readRootKeys(path)).toHaveLength(1);
    chmodSync(path, 0o644);
    expect(() => readRootKeys(path)).toThrow(`chmod 600 ${path}`);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
