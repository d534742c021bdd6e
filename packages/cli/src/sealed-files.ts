/** Files that only the holder of an identity can read, with what is needed to know them again. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { open } from "node:fs/promises";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { ageDecrypt, ageEncrypt } from "@chom/shared/age/age-stream";
import { failureOf } from "@chom/shared/failure/failure";
import type { Secret } from "@chom/shared/secrets/secret";

/** Of the sealed bytes. */
export type Sealed = { readonly sha256: string; readonly sizeBytes: number };

/** Writes a new file, mode 0600, on disk when it answers. It never replaces one. */
export async function writeSealed(
  path: string,
  recipients: readonly string[],
  source: AsyncIterable<Uint8Array>,
): Promise<Sealed> {
  const file = await open(path, "wx", 0o600);
  const hash = createHash("sha256");
  let sizeBytes = 0;
  try {
    await pipeline(Readable.from(source), ageEncrypt(recipients), async (sealed) => {
      for await (const chunk of sealed as AsyncIterable<Buffer>) {
        hash.update(chunk);
        sizeBytes += chunk.length;
        await file.writeFile(chunk);
      }
    });
    await file.sync();
  } finally {
    await file.close();
  }
  return { sha256: hash.digest("hex"), sizeBytes };
}

/** What is in it. Fails with `archive-not-authentic` on anything that was changed or cut off. */
export async function* readSealed(path: string, identity: Secret): AsyncGenerator<Buffer> {
  const plain = ageDecrypt([identity]);
  const done = pipeline(createReadStream(path), plain);
  done.catch(() => undefined);
  yield* plain as AsyncIterable<Buffer>;
  await done;
}

/** Reads all of it, and fails with `archive-not-authentic` unless it is what was written. */
export async function verifySealed(path: string, identity: Secret, wanted: Sealed): Promise<void> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  if (hash.digest("hex") !== wanted.sha256) {
    throw failureOf("archive-not-authentic", `${path} is not the file that was written`);
  }
  for await (const _ of readSealed(path, identity));
}
