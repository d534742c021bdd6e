/** Archives that become much more than their manifest says, on a real vault, through the real decompressor. */
import { join } from "node:path";
import { PassThrough, Readable, Writable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { scratchFolder } from "@chom/stack/scratch-folder";
import { afterAll, expect, test } from "vitest";
import { ageEncrypt } from "@chom/shared/age/age-stream";
import { openArchive, storeStream } from "./archive.ts";
import { makeBackupKeys, readBackupKeys } from "./backup-keys.ts";
import { localVault } from "./vault-local.ts";

const mebibyte = 1024 * 1024;
const scratch = scratchFolder("archive-bomb");
afterAll(scratch.remove);
const vault = localVault(join(scratch.path, "vault"));
const keys = readBackupKeys(makeBackupKeys());
const { signal } = new AbortController();

test("case 18: an archive of zeros that unpacks to a thousand times its size is left at the size that was promised", async () => {
  const zeros = Buffer.alloc(mebibyte);
  const source = Readable.from(
    (function* () {
      for (let made = 0; made < 64; made += 1) yield zeros;
    })(),
    { objectMode: false },
  );
  const watching = new PassThrough();
  const key = "t/site/bomb/files.tar.zst.age";
  const seal = ageEncrypt(keys.recipients);
  const options = { vault, key, source, watching, counted: () => {}, seal, signal };
  const stored = await storeStream(options);
  expect(stored.plainBytes / stored.storedBytes).toBeGreaterThan(1_000);
  let seen = 0;
  const counting = new Writable({
    write(data: Buffer, _encoding, done) {
      seen += data.length;
      done();
    },
  });
  const component = { ...stored, plainBytes: mebibyte };
  const reading = openArchive({ vault, keys, component, signal }).then((plain) =>
    pipeline(plain, counting),
  );
  await expect(reading).rejects.toMatchObject({ code: "checksum-mismatch" });
  expect(seen).toBeLessThanOrEqual(2 * mebibyte);
});
