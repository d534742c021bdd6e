/** A vault in an S3 bucket: one conditional PUT for what fits into a part, a multipart upload for the rest. */
import { createHash } from "node:crypto";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { Failure, failureOf } from "@chom/shared/failure/failure";
import { failureOfAnswer, type S3Request, type S3Settings, sendS3 } from "./s3-request.ts";
import {
  checkKey,
  measure,
  type Listed,
  type PutOptions,
  type Stored,
  type Vault,
  verifying,
} from "./vault.ts";

const mebibyte = 1024 * 1024;
const defaultEstimateBytes = 1024 * mebibyte;
const minPartBytes = 8 * mebibyte;
const maxPartBytes = 256 * mebibyte;
/** Stores that are not Amazon's often stop at 1,000 parts; the estimate may be a tenth too low. */
const aimedParts = 900;
const onlyIfNew = { "if-none-match": "*" };

/** Bytes per part, so that an object of this size stays below 1,000 parts: 8 to 256 MiB. Two parts are in memory at most. */
export function partBytesFor(estimatedBytes: number): number {
  const wanted = Math.ceil(estimatedBytes / aimedParts / mebibyte) * mebibyte;
  return Math.min(Math.max(wanted, minPartBytes), maxPartBytes);
}

/** A vault in a bucket that exists already. */
export function s3Vault(settings: S3Settings): Vault {
  const send = (request: S3Request) => sendS3(settings, request);
  return {
    put: async (key, content, options = {}) => {
      checkKey(key);
      return await putStream(send, key, content, options);
    },
    get: async (key, expected, signal) => {
      const { response } = await send({ method: "GET", key: checkKey(key), signal });
      if (!response.body)
        throw failureOf("repo-unavailable", `the object ${key} came without a body`);
      const verified = verifying(key, expected);
      const source = Readable.from(typedBody(key, response.body), { objectMode: false });
      // The error reaches the reader through the verified stream.
      pipeline(source, verified, signal ? { signal } : {}).catch(() => {});
      return verified;
    },
    head: (key) => headObject(send, checkKey(key)),
    list: (prefix) => listObjects(send, prefix),
    delete: async (key) => void (await send({ method: "DELETE", key: checkKey(key) })),
    sweep: (begunBefore) => sweepUploads(send, begunBefore),
  };
}

type Send = (request: S3Request) => ReturnType<typeof sendS3>;

/** A reader sees a typed failure, not the connection's own words. */
async function* typedBody(key: string, body: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer> {
  try {
    for await (const data of body) yield Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  } catch (cause) {
    throw failureOf("repo-unavailable", `reading the object ${key} was cut off`, { cause });
  }
}

async function putStream(
  send: Send,
  key: string,
  content: Readable,
  { estimatedBytes = defaultEstimateBytes, signal }: PutOptions,
): Promise<Stored> {
  const { stream, measured } = measure();
  const flow = pipeline(content, stream, signal ? { signal } : {});
  flow.catch(() => {}); // it reaches us through the parts
  const parts = inParts(stream, partBytesFor(estimatedBytes));
  try {
    const first = await parts.next();
    const second = await parts.next();
    if (first.done) throw failureOf("repo-unavailable", "a stream without a first part");
    const etag = second.done
      ? await putWhole(send, key, first.value, signal)
      : await putParts(send, key, chained([first.value, second.value], parts), signal);
    await flow;
    const found = await headObject(send, key);
    if (found?.sizeBytes !== measured().sizeBytes || (found.etag !== "" && found.etag !== etag)) {
      throw failureOf("repo-unavailable", `the object ${key} is not there as it was sent`);
    }
    return measured();
  } finally {
    content.destroy();
    stream.destroy();
  }
}

async function putWhole(
  send: Send,
  key: string,
  body: Buffer,
  signal?: AbortSignal,
): Promise<string> {
  const etag = md5(body).toString("hex");
  await unlessDone(send, key, etag, () =>
    send({ method: "PUT", key, headers: onlyIfNew, body, signal }),
  );
  return etag;
}

async function putParts(
  send: Send,
  key: string,
  parts: AsyncIterable<Buffer>,
  signal?: AbortSignal,
): Promise<string> {
  const begun = await send({ method: "POST", key, query: { uploads: "" }, signal });
  const uploadId = oneOf(await begun.response.text(), "UploadId");
  try {
    const sums: Buffer[] = [];
    for await (const body of parts) {
      const query = { partNumber: `${sums.length + 1}`, uploadId };
      const { response } = await send({ method: "PUT", key, query, body, signal });
      sums.push(checkPart(response, body, key));
    }
    const etag = `${md5(Buffer.concat(sums)).toString("hex")}-${sums.length}`;
    const body = Buffer.from(completion(sums));
    await unlessDone(send, key, etag, async () => {
      const request = { method: "POST", key, query: { uploadId }, headers: onlyIfNew } as const;
      const { response } = await send({ ...request, body, signal });
      const text = await response.text();
      // S3 may begin with 200 and still fail in the body.
      if (text.includes("<Error>")) throw failureOfAnswer(response, text, request);
    });
    return etag;
  } catch (error) {
    // A signal that is already aborted would stop the clean-up too; what it misses, `sweep` finds.
    await send({ method: "DELETE", key, query: { uploadId } }).catch(() => {});
    throw error;
  }
}

/** Parts are sent in the clear, so an honest store answers their MD5; another one holds other bytes. */
function checkPart(response: Response, body: Buffer, key: string): Buffer {
  const sum = md5(body);
  const etag = (response.headers.get("etag") ?? "").replaceAll('"', "");
  if (etag === sum.toString("hex")) return sum;
  throw failureOf("repo-unavailable", `a part of ${key} arrived with another MD5`);
}

/** A repetition of what was carried out unheard finds its own object: that is success. */
async function unlessDone(
  send: Send,
  key: string,
  etag: string,
  write: () => Promise<unknown>,
): Promise<void> {
  try {
    await write();
  } catch (error) {
    const isTaken =
      error instanceof Failure && ["object-exists", "object-missing"].includes(error.code);
    if (!isTaken || (await headObject(send, key))?.etag !== etag) throw error;
  }
}

async function headObject(
  send: Send,
  key: string,
): Promise<{ sizeBytes: number; etag: string } | null> {
  try {
    const { response } = await send({ method: "HEAD", key });
    const etag = (response.headers.get("etag") ?? "").replaceAll('"', "");
    return { sizeBytes: Number(response.headers.get("content-length")), etag };
  } catch (error) {
    if (error instanceof Failure && error.code === "object-missing") return null;
    throw error;
  }
}

async function listObjects(send: Send, prefix: string): Promise<Listed[]> {
  const listed: Listed[] = [];
  let token: string | undefined;
  do {
    const more: Record<string, string> = token === undefined ? {} : { "continuation-token": token };
    const query = { "list-type": "2", prefix, ...more };
    const { response } = await send({ method: "GET", query });
    const text = await response.text();
    for (const entry of elements(text, "Contents")) {
      listed.push({ key: oneOf(entry, "Key"), sizeBytes: Number(oneOf(entry, "Size")) });
    }
    token = elements(text, "NextContinuationToken").map(plain)[0];
  } while (token !== undefined);
  return listed.sort((a, b) => (a.key < b.key ? -1 : 1));
}

async function sweepUploads(send: Send, begunBefore: Date): Promise<number> {
  const { response } = await send({ method: "GET", query: { uploads: "" } });
  const uploads = elements(await response.text(), "Upload");
  const old = uploads.filter((upload) => new Date(oneOf(upload, "Initiated")) < begunBefore);
  for (const upload of old) {
    const query = { uploadId: oneOf(upload, "UploadId") };
    await send({ method: "DELETE", key: oneOf(upload, "Key"), query });
  }
  return old.length;
}

/** Cuts a stream into parts of exactly `size`; the last one is shorter, and an empty stream is one empty part. */
async function* inParts(stream: Readable, size: number): AsyncGenerator<Buffer, void> {
  let held: Buffer[] = [];
  let heldBytes = 0;
  let count = 0;
  for await (const data of stream as AsyncIterable<Buffer>) {
    let rest = data;
    while (heldBytes + rest.length >= size) {
      const cut = size - heldBytes;
      yield Buffer.concat([...held, rest.subarray(0, cut)], size);
      count += 1;
      held = [];
      heldBytes = 0;
      rest = rest.subarray(cut);
    }
    if (rest.length > 0) held.push(rest);
    heldBytes += rest.length;
  }
  if (heldBytes > 0 || count === 0) yield Buffer.concat(held, heldBytes);
}

async function* chained(first: Buffer[], rest: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  for (let part = first.shift(); part; part = first.shift()) yield part;
  yield* rest;
}

function completion(sums: readonly Buffer[]): string {
  const parts = sums.map((sum, at) => {
    const etag = `<ETag>"${sum.toString("hex")}"</ETag>`;
    return `<Part><PartNumber>${at + 1}</PartNumber>${etag}</Part>`;
  });
  return `<CompleteMultipartUpload>${parts.join("")}</CompleteMultipartUpload>`;
}

const md5 = (bytes: Buffer): Buffer => createHash("md5").update(bytes).digest();

const elements = (xml: string, name: string): string[] =>
  [...xml.matchAll(new RegExp(`<${name}>([\\s\\S]*?)</${name}>`, "g"))].map(
    ([, text]) => text ?? "",
  );

function oneOf(xml: string, name: string): string {
  const [text] = elements(xml, name);
  if (text === undefined) throw failureOf("protocol-error", `the object store left out ${name}`);
  return plain(text);
}

const plain = (text: string): string =>
  text
    .replace(/&#(\d+);/g, (_, point: string) => String.fromCodePoint(Number(point)))
    .replaceAll("&quot;", '"')
    .replaceAll("&lt;", "<")
    .replaceAll("&gt;", ">")
    .replaceAll("&amp;", "&");
