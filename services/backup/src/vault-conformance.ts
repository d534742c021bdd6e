/** What every vault promises, as tests; both implementations run all of them. Imported by tests only. */
import { createHash } from "node:crypto";
import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { expect, test } from "vitest";
import type { Vault } from "./vault.ts";

/** `tamper` changes an object behind the vault's back. */
type VaultUnderTest = AsyncDisposable & {
  vault: Vault;
  tamper: (key: string, bytes: Buffer) => Promise<void>;
};

const sha256 = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");
const pieces = (bytes: Buffer, size = 70_000): Readable =>
  Readable.from(
    (function* () {
      for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
    })(),
    { objectMode: false },
  );

/** Bytes in which every 4-byte word differs. */
export function distinctBytes(size: number): Buffer {
  const bytes = Buffer.alloc(size);
  for (let at = 0; at + 4 <= size; at += 4) bytes.writeUInt32LE(at, at);
  return bytes;
}

type Make = () => Promise<VaultUnderTest>;

/** Declares the suite for one implementation. */
export function vaultConformance(name: string, make: Make): void {
  writing(name, make);
  reading(name, make);
  keys(name, make);
}

function writing(name: string, make: Make): void {
  test.each([0, 1, 70_000, 20 * 1024 * 1024 + 5])(
    `${name}: %i bytes come back as they were`,
    async (size) => {
      await using at = await make();
      const bytes = distinctBytes(size);
      const stored = await at.vault.put("t/s/b/1/files", pieces(bytes), { estimatedBytes: size });
      expect(stored).toEqual({ sizeBytes: size, sha256: sha256(bytes) });
      expect(await at.vault.head("t/s/b/1/files")).toMatchObject({ sizeBytes: size });
      const back = await buffer(await at.vault.get("t/s/b/1/files", stored));
      expect(back.equals(bytes)).toBe(true);
    },
  );

  test(`${name}: a key is written once, and keeps what it got first`, async () => {
    await using at = await make();
    const first = await at.vault.put("k", pieces(Buffer.from("first")));
    const again = at.vault.put("k", pieces(Buffer.from("second")));
    await expect(again).rejects.toMatchObject({ code: "object-exists" });
    expect((await buffer(await at.vault.get("k", first))).toString()).toBe("first");
  });

  test(`${name}: a stream that fails leaves nothing behind`, async () => {
    await using at = await make();
    const broken = Readable.from(
      (async function* () {
        yield distinctBytes(9 * 1024 * 1024);
        throw new Error("the source broke");
      })(),
      { objectMode: false },
    );
    await expect(at.vault.put("k", broken)).rejects.toThrow("the source broke");
    expect(await at.vault.head("k")).toBeNull();
    expect(await at.vault.list("")).toEqual([]);
    expect(await at.vault.sweep(new Date(Date.now() + 60_000))).toBe(0);
  });

  test(`${name}: a write that is called off leaves nothing behind`, async () => {
    await using at = await make();
    const stop = new AbortController();
    const endless = Readable.from(
      (async function* () {
        for (let count = 0; ; count += 1) {
          if (count === 200) stop.abort(new Error("called off"));
          yield distinctBytes(65_536);
        }
      })(),
      { objectMode: false },
    );
    await expect(at.vault.put("k", endless, { signal: stop.signal })).rejects.toThrow();
    expect(await at.vault.head("k")).toBeNull();
    expect(await at.vault.list("")).toEqual([]);
  });
}

function reading(name: string, make: Make): void {
  test.each([
    ["one bit less", (bytes: Buffer) => Buffer.from(bytes).fill(1, 100, 101)],
    ["too short", (bytes: Buffer) => bytes.subarray(0, -1)],
    ["too long", (bytes: Buffer) => Buffer.concat([bytes, Buffer.of(0)])],
  ])(
    `${name}: an object that changed in the vault is not read as if it had not: %s`,
    async (_, change) => {
      await using at = await make();
      const bytes = distinctBytes(200_000);
      const stored = await at.vault.put("k", pieces(bytes));
      await at.tamper("k", change(bytes));
      const reading = at.vault.get("k", stored).then(buffer);
      await expect(reading).rejects.toMatchObject({ code: "checksum-mismatch" });
    },
  );

  test(`${name}: a list has what begins with the prefix, sorted; deleting twice is deleting once`, async () => {
    await using at = await make();
    for (const key of ["b/2", "a/1", "b/10", "bb"]) {
      await at.vault.put(key, pieces(Buffer.from(key)));
    }
    expect(await at.vault.list("b/")).toEqual([
      { key: "b/10", sizeBytes: 4 },
      { key: "b/2", sizeBytes: 3 },
    ]);
    await at.vault.delete("b/2");
    await at.vault.delete("b/2");
    expect((await at.vault.list("b")).map(({ key }) => key)).toEqual(["b/10", "bb"]);
  });

  test(`${name}: what is not there is said to be missing`, async () => {
    await using at = await make();
    expect(await at.vault.head("none")).toBeNull();
    const reading = at.vault.get("none", { sha256: sha256(Buffer.alloc(0)) });
    await expect(reading).rejects.toMatchObject({ code: "object-missing" });
  });
}

function keys(name: string, make: Make): void {
  test.each(["", "/a", "a/../b", "a//b", ".hidden", "a/.b", "a b", "ä", "a\nb", "x".repeat(513)])(
    `${name}: %j is no key`,
    async (key) => {
      await using at = await make();
      await expect(at.vault.put(key, pieces(Buffer.alloc(1)))).rejects.toMatchObject({
        code: "invalid-config",
      });
    },
  );
}
