import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { Secret } from "@chom/shared/secrets/secret";
import { type S3Effect, startS3Server } from "@chom/stack/s3-server";
import { expect, test } from "vitest";
import { distinctBytes, vaultConformance } from "./vault-conformance.ts";
import { partBytesFor, s3Vault } from "./vault-s3.ts";

const bucket = "backups";
const mebibyte = 1024 * 1024;
const big = 20 * mebibyte + 5;

async function setup(more: { bucket?: string; secret?: string } = {}) {
  const credentials = { accessKeyId: "AKIATEST", secretAccessKey: "a+secret/=" };
  const server = await startS3Server({ credentials, buckets: [bucket] });
  const vault = s3Vault({
    endpoint: server.endpoint,
    region: "eu-central-1",
    bucket: more.bucket ?? bucket,
    accessKeyId: credentials.accessKeyId,
    secretAccessKey: new Secret(more.secret ?? credentials.secretAccessKey),
    retryDelayMs: 5,
  });
  const tamper = async (key: string, bytes: Buffer) => server.tamper(bucket, key, bytes);
  return { server, vault, tamper, [Symbol.asyncDispose]: server.stop };
}

const content = (size: number) => Readable.from([distinctBytes(size)], { objectMode: false });
const putBig = (vault: Awaited<ReturnType<typeof setup>>["vault"]) =>
  vault.put("k", content(big), { estimatedBytes: big });

vaultConformance("bucket", setup);

test("an object of any size up to 200 GiB stays below 1,000 parts", () => {
  for (const size of [0, 1, 100 * mebibyte, 16 * 1024 * mebibyte, 200 * 1024 * mebibyte]) {
    expect(size / partBytesFor(size)).toBeLessThan(1000);
  }
});

test.each<[string, string | undefined, S3Effect]>([
  ["PUT", "partNumber", "internal-error"],
  ["PUT", "partNumber", "slow-down"],
  ["PUT", "partNumber", "reset"],
  ["PUT", "partNumber", "lost-answer"],
  ["POST", "uploads", "internal-error"],
  ["POST", "uploadId", "lost-answer"],
])("a large object survives one %s %s that goes wrong: %s", async (method, query, effect) => {
  await using at = await setup();
  at.server.inject({ method, ...(query ? { query } : {}), effect });
  const stored = await putBig(at.vault);
  const back = await buffer(await at.vault.get("k", stored));
  expect(back.equals(distinctBytes(big))).toBe(true);
});

test.each<S3Effect>(["internal-error", "lost-answer", "reset"])(
  "a small object survives one request that goes wrong: %s",
  async (effect) => {
    await using at = await setup();
    at.server.inject({ method: "PUT", effect });
    await at.vault.put("k", content(100));
    expect(at.server.peek(bucket, "k")?.equals(distinctBytes(100))).toBe(true);
  },
);

test("a store that goes on failing is unavailable, and no upload stays open", async () => {
  await using at = await setup();
  at.server.inject({ method: "PUT", query: "partNumber", effect: "internal-error", times: 99 });
  await expect(putBig(at.vault)).rejects.toMatchObject({
    code: "repo-unavailable",
    kind: "transient",
  });
  expect(at.server.openUploads()).toBe(0);
});

test("a store that goes on throttling says when to come back", async () => {
  await using at = await setup();
  at.server.inject({ method: "PUT", effect: "slow-down", times: 99 });
  const putting = at.vault.put("k", content(10));
  await expect(putting).rejects.toMatchObject({ code: "repo-throttled", retryAfterMs: 1000 });
});

test("a part whose answer names another hash is not believed", async () => {
  await using at = await setup();
  at.server.inject({ method: "PUT", query: "partNumber", effect: "wrong-etag" });
  await expect(putBig(at.vault)).rejects.toMatchObject({ code: "repo-unavailable" });
  expect(at.server.openUploads()).toBe(0);
  expect(at.server.peek(bucket, "k")).toBeUndefined();
});

test("a store that answers success and keeps nothing is found out", async () => {
  await using at = await setup();
  at.server.inject({ method: "PUT", effect: "forget" });
  await expect(at.vault.put("k", content(10))).rejects.toMatchObject({ code: "repo-unavailable" });
});

test("a bit that flips on the way back is found", async () => {
  await using at = await setup();
  const stored = await at.vault.put("k", content(1000));
  at.server.inject({ method: "GET", effect: "corrupt" });
  const reading = at.vault.get("k", stored).then(buffer);
  await expect(reading).rejects.toMatchObject({ code: "checksum-mismatch" });
});

test("an answer that is cut off is not read as the whole", async () => {
  await using at = await setup();
  const stored = await at.vault.put("k", content(mebibyte));
  at.server.inject({ method: "GET", effect: "cut" });
  const reading = at.vault.get("k", stored).then(buffer);
  await expect(reading).rejects.toMatchObject({ code: "repo-unavailable" });
});

test("wrong credentials and a missing bucket need a person", async () => {
  await using wrong = await setup({ secret: "other" });
  const put = wrong.vault.put("k", content(1));
  await expect(put).rejects.toMatchObject({ code: "repo-auth", kind: "operator" });
  await using missing = await setup({ bucket: "none" });
  const list = missing.vault.list("");
  await expect(list).rejects.toMatchObject({ code: "bucket-missing", kind: "operator" });
});

test("an upload that a killed writer left open is swept when it is old", async () => {
  await using at = await setup();
  at.server.inject({ method: "PUT", query: "partNumber", effect: "internal-error", times: 99 });
  at.server.inject({ method: "DELETE", query: "uploadId", effect: "internal-error", times: 4 });
  await expect(putBig(at.vault)).rejects.toThrow();
  expect(at.server.openUploads()).toBe(1);
  expect(await at.vault.sweep(new Date(0))).toBe(0);
  expect(await at.vault.sweep(new Date(Date.now() + 60_000))).toBe(1);
  expect(at.server.openUploads()).toBe(0);
});
