import { createHash } from "node:crypto";
import { Readable, type Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { inflateSync } from "node:zlib";
import { Secret } from "../secrets/secret.ts";
import { Decrypter, Encrypter } from "age-encryption";
import * as vectors from "cctv-age";
import fc from "fast-check";
import { expect, test } from "vitest";
import { makeAgeKeyPair, recipientOf } from "./age-file.ts";
import { ageDecrypt, ageEncrypt } from "./age-stream.ts";
import { decodeBech32, encodeBech32 } from "./bech32.ts";

const sizes = [0, 1, 65_535, 65_536, 65_537, 131_072, 10_000_000];
const pair = makeAgeKeyPair();

/** Bytes that differ everywhere, so that a swapped or lost chunk shows. */
function bytesOf(size: number): Buffer {
  const bytes = Buffer.alloc(size);
  for (let at = 0; at + 4 <= size; at += 4)
    bytes.writeUInt32LE(Math.imul(at, 2_654_435_761) >>> 0, at);
  return bytes;
}

/** Everything that a stream let out, also what its consumer did not take before an error. */
async function through(stream: Transform, input: Buffer, pieceBytes = 100_000) {
  const out: Buffer[] = stream.readableLength > 0 ? [stream.read() as Buffer] : [];
  const push = stream.push.bind(stream);
  stream.push = (data: Buffer | null) => {
    if (data !== null) out.push(data);
    return push(data);
  };
  const pieces = function* () {
    for (let at = 0; at < input.length; at += pieceBytes) yield input.subarray(at, at + pieceBytes);
  };
  stream.resume();
  const failure: unknown = await pipeline(Readable.from(pieces()), stream).then(
    () => undefined,
    (error: unknown) => error,
  );
  return { bytes: Buffer.concat(out), failure };
}

const encrypted = async (plain: Buffer, recipients = [pair.recipient]) =>
  (await through(ageEncrypt(recipients), plain)).bytes;
const decrypted = (sealed: Buffer, identity = pair.identity) =>
  through(ageDecrypt([identity]), sealed);
const refusal = expect.objectContaining({ code: "archive-not-authentic" });

test.each(sizes)("%i bytes come back as they were", async (size) => {
  const plain = bytesOf(size);
  const { bytes, failure } = await decrypted(await encrypted(plain));
  expect(failure).toBeUndefined();
  expect(bytes.equals(plain)).toBe(true);
});

test.each(sizes)(
  "%i bytes pass between this and another implementation, both ways",
  async (size) => {
    const plain = bytesOf(size);
    const theirs = new Decrypter();
    theirs.addIdentity(pair.identity.reveal());
    expect(Buffer.from(await theirs.decrypt(await encrypted(plain))).equals(plain)).toBe(true);
    const sender = new Encrypter();
    sender.addRecipient(pair.recipient);
    const { bytes, failure } = await decrypted(Buffer.from(await sender.encrypt(plain)));
    expect(failure).toBeUndefined();
    expect(bytes.equals(plain)).toBe(true);
  },
);

test("each of several recipients opens the archive alone", async () => {
  const other = makeAgeKeyPair();
  const sealed = await encrypted(bytesOf(70_000), [pair.recipient, other.recipient]);
  for (const { identity } of [pair, other]) {
    expect((await decrypted(sealed, identity)).bytes.equals(bytesOf(70_000))).toBe(true);
  }
});

test("case 19: an archive made for someone else does not open", async () => {
  const { bytes, failure } = await decrypted(
    await encrypted(bytesOf(10)),
    makeAgeKeyPair().identity,
  );
  expect(failure).toEqual(refusal);
  expect(bytes).toHaveLength(0);
});

test("case 19: an archive that lost any of its end is refused", async () => {
  const sealed = await encrypted(bytesOf(131_072));
  const chunk = 65_536 + 16;
  for (const lost of [1, 15, 16, 17, chunk - 1, chunk, chunk + 1, 2 * chunk, sealed.length]) {
    expect((await decrypted(sealed.subarray(0, sealed.length - lost))).failure, `${lost}`).toEqual(
      refusal,
    );
  }
});

test("case 19: an archive with anything after its end is refused", async () => {
  for (const size of [0, 100, 65_536]) {
    const sealed = await encrypted(bytesOf(size));
    const doubled = [Buffer.from([0]), Buffer.alloc(65_552), sealed];
    for (const more of doubled) {
      expect((await decrypted(Buffer.concat([sealed, more]))).failure).toEqual(refusal);
    }
  }
});

test("case 19: an archive whose chunks changed places, or came twice, is refused", async () => {
  const sealed = await encrypted(bytesOf(65_536 * 3));
  const start = sealed.length - 3 * 65_552;
  const [head, one, two, three] = [
    sealed.subarray(0, start),
    sealed.subarray(start, start + 65_552),
    sealed.subarray(start + 65_552, start + 2 * 65_552),
    sealed.subarray(start + 2 * 65_552),
  ] as [Buffer, Buffer, Buffer, Buffer];
  for (const order of [[two, one, three], [one, one, two, three], [one, three], [three]]) {
    expect((await decrypted(Buffer.concat([head, ...order]))).failure).toEqual(refusal);
  }
});

test("case 19: one flipped bit anywhere is refused", async () => {
  const sealed = await encrypted(bytesOf(70_000));
  await fc.assert(
    fc.asyncProperty(fc.nat(sealed.length - 1), fc.nat(7), async (at, bit) => {
      const flipped = Buffer.from(sealed);
      flipped[at] = (flipped[at] ?? 0) ^ (1 << bit);
      expect((await decrypted(flipped)).failure).toEqual(refusal);
    }),
    { numRuns: 150 },
  );
});

test("how the bytes arrive makes no difference", async () => {
  const plain = bytesOf(131_073);
  const sealed = await encrypted(plain);
  for (const pieceBytes of [97, 65_536, 65_552, 1_000_000]) {
    const { bytes, failure } = await through(ageDecrypt([pair.identity]), sealed, pieceBytes);
    expect(failure).toBeUndefined();
    expect(bytes.equals(plain)).toBe(true);
  }
});

test("an endless header is given up instead of held", async () => {
  const start = Buffer.from("age-encryption.org/v1\n-> X25519 ");
  const { failure } = await decrypted(Buffer.concat([start, Buffer.alloc(1_000_000, "a")]));
  expect(failure).toEqual(refusal);
});

test("bech32 text is the bytes again, and one wrong letter is noticed", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), fc.nat(), fc.nat(31), (bytes, at, by) => {
      const text = encodeBech32("age", bytes);
      expect([...decodeBech32(text, "age")]).toEqual([...bytes]);
      const place = 4 + (at % (text.length - 4));
      const letter = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"[by] ?? "";
      const wrong = text.slice(0, place) + letter + text.slice(place + 1);
      if (wrong !== text) expect(() => decodeBech32(wrong, "age")).toThrow("a backup key's text");
    }),
  );
});

test("an identity names its recipient and never shows in an error", () => {
  expect(recipientOf(pair.identity)).toBe(pair.recipient);
  const broken = `${pair.identity.reveal().slice(0, -1)}!`;
  try {
    recipientOf(new Secret(broken));
    expect.unreachable();
  } catch (error) {
    expect(String(error)).not.toContain(broken.slice(20, 40));
    expect(error).toMatchObject({ code: "invalid-config" });
  }
});

// The format's public vectors. Those for passphrases, armour and post-quantum keys are for features we do not have.
const cases = Object.entries<Uint8Array>({ ...vectors }).flatMap(([name, bytes]) => {
  const raw = Buffer.from(bytes);
  const split = raw.indexOf("\n\n");
  const fields = raw
    .subarray(0, split)
    .toString()
    .split("\n")
    .map((line) => line.split(": "));
  const all = (key: string) => fields.filter(([at]) => at === key).map(([, value]) => value ?? "");
  const identities = all("identity");
  const isOurs = identities.every((identity) => identity.startsWith("AGE-SECRET-KEY-1"));
  const isOther = all("armored").length > 0 || all("passphrase").length > 0 || !isOurs;
  const [expected, payload, compressed] = [
    all("expect")[0],
    all("payload")[0],
    all("compressed")[0],
  ];
  const file = raw.subarray(split + 2);
  return isOther || identities.length === 0
    ? []
    : [{ name, expected, payload, compressed, identities, file }];
});

test("the public vectors are there", () => {
  expect(cases.length).toBeGreaterThan(50);
});

test.each(cases)("public vector $name: $expected", async (vector) => {
  const file = vector.compressed === "zlib" ? inflateSync(vector.file) : vector.file;
  const identities = vector.identities.map((identity) => new Secret(identity));
  const { bytes, failure } = await through(ageDecrypt(identities), file);
  if (vector.expected === "success") expect(failure).toBeUndefined();
  else expect(failure).toEqual(refusal);
  const released = createHash("sha256").update(bytes).digest("hex");
  if (vector.payload !== undefined) expect(released).toBe(vector.payload);
});
