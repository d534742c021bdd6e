import { createReadStream, createWriteStream, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { Secret } from "@chom/shared/secrets/secret";
import { ensureHostProgram } from "@chom/stack/apt";
import { runCommand } from "@chom/stack/run-command";
import { scratchFolder } from "@chom/stack/scratch-folder";
import { expect, test } from "vitest";
import { makeAgeKeyPair, recipientOf } from "@chom/shared/age/age-file";
import { ageDecrypt, ageEncrypt } from "@chom/shared/age/age-stream";

const sizes = [0, 1, 65_535, 65_536, 65_537, 131_072, 10_000_000];
const age = await ensureHostProgram("age", "age", () => {});

/** Files of one test and the stock tool over them; all of it goes when the test ends. */
function setup() {
  const folder = scratchFolder("age-test");
  const path = (name: string) => join(folder.path, name);
  const plain = (size: number) => {
    const bytes = Buffer.alloc(size, "0123456789abcdefg\n");
    writeFileSync(path("plain"), bytes);
    return bytes;
  };
  const run = async (...args: string[]) => {
    const result = await runCommand(age, args);
    expect(result.stderr).toBe("");
    expect(result.code).toBe(0);
  };
  return { path, plain, run, [Symbol.dispose]: folder.remove };
}

test.each(sizes)("the stock tool opens what we encrypt: %i bytes", async (size) => {
  using files = setup();
  const { recipient, identity } = makeAgeKeyPair();
  writeFileSync(files.path("key"), `${identity.reveal()}\n`, { mode: 0o600 });
  const bytes = files.plain(size);
  const others = [makeAgeKeyPair().recipient, recipient];
  await pipeline(
    Readable.from([bytes]),
    ageEncrypt(others),
    createWriteStream(files.path("sealed")),
  );
  // The tool makes its output file with the first byte, so none comes out of an empty archive.
  writeFileSync(files.path("opened"), "");
  await files.run("-d", "-i", files.path("key"), "-o", files.path("opened"), files.path("sealed"));
  expect(readFileSync(files.path("opened")).equals(bytes)).toBe(true);
});

test.each(sizes)("we open what the stock tool encrypts: %i bytes", async (size) => {
  using files = setup();
  const { recipient, identity } = makeAgeKeyPair();
  const bytes = files.plain(size);
  await files.run("-r", recipient, "-o", files.path("sealed"), files.path("plain"));
  await pipeline(
    createReadStream(files.path("sealed")),
    ageDecrypt([identity]),
    createWriteStream(files.path("opened")),
  );
  expect(readFileSync(files.path("opened")).equals(bytes)).toBe(true);
});

test("a key of the stock key generator is read as the stock tool reads it", async () => {
  const { stdout } = await runCommand(`${age}-keygen`, []);
  const recipient = /public key: (\S+)/.exec(stdout)?.[1];
  const identity = /AGE-SECRET-KEY-\S+/.exec(stdout)?.[0] ?? "";
  expect(recipientOf(new Secret(identity))).toBe(recipient);
});
