import { Readable } from "node:stream";
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
  UploadPartCommand,
} from "@aws-sdk/client-s3";
import { expect, test } from "vitest";
import { startS3Server } from "./s3-server.ts";

const credentials = { accessKeyId: "AKIATEST", secretAccessKey: "a+secret/with=signs" };
const Bucket = "backups";

/** A server of its own and the vendor's client for it. */
async function setup(now?: () => Date) {
  const server = await startS3Server({ credentials, buckets: [Bucket], ...(now ? { now } : {}) });
  const clientWith = (more: object = {}) =>
    new S3Client({
      endpoint: server.endpoint,
      region: "eu-central-1",
      forcePathStyle: true,
      credentials,
      maxAttempts: 1,
      ...more,
    });
  return { server, client: clientWith(), clientWith, [Symbol.asyncDispose]: server.stop };
}

const status = (code: number) =>
  expect.objectContaining({ $metadata: expect.objectContaining({ httpStatusCode: code }) });

test("the vendor's client stores and reads an object, also with the trailing checksum of a stream", async () => {
  await using s3 = await setup();
  const body = Buffer.alloc(300_000, "chunked? ");
  await s3.client.send(new PutObjectCommand({ Bucket, Key: "a/plain key+1.bin", Body: body }));
  const stream = Readable.from([body.subarray(0, 70_000), body.subarray(70_000)]);
  const put = { Bucket, Key: "streamed", Body: stream, ContentLength: body.length };
  await s3.client.send(new PutObjectCommand(put));
  for (const Key of ["a/plain key+1.bin", "streamed"]) {
    expect(s3.server.peek(Bucket, Key)?.equals(body)).toBe(true);
    const got = await s3.client.send(new GetObjectCommand({ Bucket, Key }));
    expect(Buffer.from((await got.Body?.transformToByteArray()) ?? []).equals(body)).toBe(true);
  }
});

test("a range gives these bytes and says so", async () => {
  await using s3 = await setup();
  await s3.client.send(new PutObjectCommand({ Bucket, Key: "k", Body: "0123456789" }));
  const got = await s3.client.send(new GetObjectCommand({ Bucket, Key: "k", Range: "bytes=2-4" }));
  expect(got.ContentRange).toBe("bytes 2-4/10");
  expect(await got.Body?.transformToString()).toBe("234");
});

test("another secret, another key id or a clock far off is refused", async () => {
  await using s3 = await setup();
  const wrong = { credentials: { ...credentials, secretAccessKey: "other" } };
  const list = new ListObjectsV2Command({ Bucket });
  await expect(s3.clientWith(wrong).send(list)).rejects.toMatchObject({
    name: "SignatureDoesNotMatch",
  });
  const stranger = { credentials: { ...credentials, accessKeyId: "AKIAOTHER" } };
  await expect(s3.clientWith(stranger).send(list)).rejects.toMatchObject({
    name: "InvalidAccessKeyId",
  });
  await using late = await setup(() => new Date(Date.now() + 3_600_000));
  await expect(late.client.send(list)).rejects.toMatchObject({ name: "RequestTimeTooSkewed" });
});

test("a request that was changed after signing is refused", async () => {
  await using s3 = await setup();
  const client = s3.clientWith();
  client.middlewareStack.add(
    (next) => (args) => {
      (args.request as { path: string }).path = `/${Bucket}/other`;
      return next(args);
    },
    { step: "finalizeRequest", priority: "low" },
  );
  await expect(client.send(new PutObjectCommand({ Bucket, Key: "k", Body: "x" }))).rejects.toEqual(
    status(403),
  );
  expect(s3.server.peek(Bucket, "other")).toBeUndefined();
});

test("a key is written once when the writer asks for that", async () => {
  await using s3 = await setup();
  const put = (Body: string) =>
    s3.client.send(new PutObjectCommand({ Bucket, Key: "once", Body, IfNoneMatch: "*" }));
  await put("first");
  await expect(put("second")).rejects.toEqual(status(412));
  expect(s3.server.peek(Bucket, "once")?.toString()).toBe("first");
});

test("parts become one object, in order, and only as they were uploaded", async () => {
  await using s3 = await setup();
  const parts = [Buffer.alloc(5 << 20, "a"), Buffer.alloc(5 << 20, "b"), Buffer.from("end")];
  const at = { Bucket, Key: "big" };
  const { UploadId } = await s3.client.send(new CreateMultipartUploadCommand(at));
  const done = await Promise.all(
    parts.map(async (Body, index) => {
      const part = { ...at, UploadId, PartNumber: index + 1, Body };
      const { ETag } = await s3.client.send(new UploadPartCommand(part));
      return { ETag, PartNumber: index + 1 };
    }),
  );
  const complete = (Parts: typeof done) =>
    s3.client.send(
      new CompleteMultipartUploadCommand({ ...at, UploadId, MultipartUpload: { Parts } }),
    );
  const wrong = done.map((part, index) => (index === 1 ? { ...part, ETag: '"00"' } : part));
  await expect(complete(wrong)).rejects.toMatchObject({ name: "InvalidPart" });
  await expect(complete(done.toReversed())).rejects.toMatchObject({ name: "InvalidPartOrder" });
  const { ETag } = await complete(done);
  expect(ETag).toMatch(/-3"$/);
  expect(s3.server.peek(Bucket, "big")?.equals(Buffer.concat(parts))).toBe(true);
  expect(s3.server.openUploads()).toBe(0);
});

test("an upload is listed until it is aborted", async () => {
  await using s3 = await setup();
  const at = { Bucket, Key: "half" };
  const { UploadId } = await s3.client.send(new CreateMultipartUploadCommand(at));
  const { Uploads } = await s3.client.send(new ListMultipartUploadsCommand({ Bucket }));
  expect(Uploads).toMatchObject([{ Key: "half", UploadId }]);
  await s3.client.send(new AbortMultipartUploadCommand({ ...at, UploadId }));
  expect(s3.server.openUploads()).toBe(0);
});

test("a list has its prefix, its pages and only what exists", async () => {
  await using s3 = await setup();
  for (const Key of ["p/1", "p/2", "p/3", "q/1"]) {
    await s3.client.send(new PutObjectCommand({ Bucket, Key, Body: Key }));
  }
  const list = { Bucket, Prefix: "p/", MaxKeys: 2 };
  const first = await s3.client.send(new ListObjectsV2Command(list));
  expect(first.Contents?.map(({ Key, Size }) => [Key, Size])).toEqual([
    ["p/1", 3],
    ["p/2", 3],
  ]);
  const token = { ContinuationToken: first.NextContinuationToken };
  const second = await s3.client.send(new ListObjectsV2Command({ ...list, ...token }));
  expect(second.Contents?.map(({ Key }) => Key)).toEqual(["p/3"]);
  expect(second.IsTruncated).toBe(false);
  await s3.client.send(new DeleteObjectCommand({ Bucket, Key: "p/1" }));
  const Delete = { Objects: [{ Key: "p/2" }, { Key: "p/3" }] };
  await s3.client.send(new DeleteObjectsCommand({ Bucket, Delete }));
  expect((await s3.client.send(new ListObjectsV2Command({ Bucket }))).KeyCount).toBe(1);
});

test("what is not there is said in the vendor's words", async () => {
  await using s3 = await setup();
  const missing = { Bucket, Key: "none" };
  await expect(s3.client.send(new GetObjectCommand(missing))).rejects.toMatchObject({
    name: "NoSuchKey",
  });
  await expect(s3.client.send(new HeadObjectCommand(missing))).rejects.toEqual(status(404));
  const elsewhere = new ListObjectsV2Command({ Bucket: "none" });
  await expect(s3.client.send(elsewhere)).rejects.toMatchObject({ name: "NoSuchBucket" });
});

test("it misbehaves as often as told, and no more", async () => {
  await using s3 = await setup();
  const put = () => s3.client.send(new PutObjectCommand({ Bucket, Key: "k", Body: "body" }));
  s3.server.inject({ method: "PUT", effect: "internal-error" });
  await expect(put()).rejects.toEqual(status(500));
  s3.server.inject({ method: "PUT", effect: "slow-down" });
  await expect(put()).rejects.toMatchObject({ name: "SlowDown" });
  s3.server.inject({ method: "PUT", effect: "reset" });
  await expect(put()).rejects.toThrow();
  expect(s3.server.peek(Bucket, "k")).toBeUndefined();
  s3.server.inject({ method: "PUT", effect: "lost-answer" });
  await expect(put()).rejects.toThrow();
  expect(s3.server.peek(Bucket, "k")?.toString()).toBe("body");
  await put();
});
