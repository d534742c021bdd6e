/**
 * A small S3 server for tests and the demo, as strict as the real one about signatures, lengths, hashes, parts and
 * conditional writes, and able to misbehave on request. Objects live in memory and die with it.
 */
import { createHash } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { escapeText, tag, tags, unescapeText } from "./s3-xml.ts";
import {
  decodeChunked,
  refuseSignature,
  type S3Credentials,
  type S3Refusal,
} from "./s3-signature.ts";

const minPartBytes = 5 * 1024 * 1024;
const pageSize = 1000;
const maxBodyBytes = 512 * 1024 * 1024;

/**
 * How the next matching requests go wrong: `internal-error` (500), `slow-down` (503 with Retry-After), `reset` (the
 * connection dies halfway through the request's body, nothing is done), `lost-answer` (done, then the connection
 * dies), `wrong-etag`, `forget` (answers success, keeps nothing), `corrupt` (one bit of what is read is flipped),
 * `cut` (the connection dies halfway through the answer's body).
 */
export type S3Effect =
  | "internal-error"
  | "slow-down"
  | "reset"
  | "lost-answer"
  | "wrong-etag"
  | "forget"
  | "corrupt"
  | "cut";

/** `query` must occur among the request's parameter names; `times` defaults to 1. */
export type S3Fault = { method: string; query?: string; effect: S3Effect; times?: number };

export type S3Server = {
  endpoint: string;
  /** Makes the next `times` matching requests go wrong. */
  inject: (fault: S3Fault) => void;
  /** The bytes of an object, past every check. */
  peek: (bucket: string, key: string) => Buffer | undefined;
  /** Replaces an object's bytes, as decay or an intruder would. */
  tamper: (bucket: string, key: string, body: Buffer) => void;
  /** Multipart uploads that were begun and neither completed nor aborted. */
  openUploads: () => number;
  /** `METHOD path?query` of every request so far. */
  requests: readonly string[];
  stop: () => Promise<void>;
};

export type S3Options = {
  credentials: S3Credentials;
  buckets: readonly string[];
  port?: number;
  now?: () => Date;
};

type Stored = { body: Buffer; etag: string; modifiedAt: Date };
type Upload = { bucket: string; key: string; parts: Map<number, Stored>; begunAt: Date };
type State = {
  buckets: Map<string, Map<string, Stored>>;
  uploads: Map<string, Upload>;
  now: () => Date;
};
type Call = {
  state: State;
  method: string;
  bucket: string;
  key: string;
  query: URLSearchParams;
  headers: IncomingMessage["headers"];
  body: Buffer;
};
type Answer = { status?: number; headers?: Record<string, string>; body?: string | Buffer };

/** Starts the server on loopback. Throws when the port is taken. */
export async function startS3Server(options: S3Options): Promise<S3Server> {
  const state: State = {
    buckets: new Map(options.buckets.map((name) => [name, new Map()])),
    uploads: new Map(),
    now: options.now ?? (() => new Date()),
  };
  const faults: S3Fault[] = [];
  const requests: string[] = [];
  const server = createServer((request, response) => {
    requests.push(`${request.method} ${request.url}`);
    const effect = takeFault(faults, request);
    serve(state, options.credentials, { request, response }, effect).catch(() =>
      request.socket.destroy(),
    );
  });
  server.listen(options.port ?? 0, "127.0.0.1");
  await once(server, "listening");
  const put = (bucket: string, key: string, body: Buffer) =>
    bucketOf(state, bucket).set(key, stored(body, state.now()));
  return {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    inject: (fault) => void faults.push({ ...fault }),
    peek: (bucket, key) => state.buckets.get(bucket)?.get(key)?.body,
    tamper: put,
    openUploads: () => state.uploads.size,
    requests,
    stop: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}

function takeFault(faults: S3Fault[], request: IncomingMessage): S3Effect | undefined {
  const names = [...new URL(request.url ?? "/", "http://s3").searchParams.keys()];
  const at = faults.findIndex(
    ({ method, query }) =>
      method === request.method && (query === undefined || names.includes(query)),
  );
  const fault = faults[at];
  if (fault === undefined) return undefined;
  fault.times = (fault.times ?? 1) - 1;
  if (fault.times <= 0) faults.splice(at, 1);
  return fault.effect;
}

async function serve(
  state: State,
  credentials: S3Credentials,
  { request, response }: { request: IncomingMessage; response: ServerResponse },
  effect: S3Effect | undefined,
): Promise<void> {
  let answer: Answer;
  try {
    if (effect === "reset") return await resetMidway(request);
    const raw = await bodyOf(request);
    const refusal = refuseSignature(request, credentials, state.now()) ?? mishap(effect);
    if (refusal) throw refusal;
    const url = new URL(request.url ?? "/", "http://s3");
    const [, bucket = "", ...rest] = url.pathname.split("/").map(decodeURIComponent);
    const { method = "", headers } = request;
    const body = checkBody(raw, headers);
    const call = {
      state,
      method,
      bucket,
      key: rest.join("/"),
      query: url.searchParams,
      headers,
      body,
    };
    answer = effect === "forget" ? { headers: { etag: etagOf(body) } } : route(call);
  } catch (error) {
    answer = refused(error as S3Refusal);
  }
  if (effect === "lost-answer") return void request.socket.destroy();
  send(response, request.method === "HEAD", spoil(answer, effect), effect === "cut");
}

/** The operation that method, path and parameters name. */
function route(call: Call): Answer {
  const { method, key, query } = call;
  if (key === "") {
    if (method === "PUT") return createBucket(call);
    bucketOf(call.state, call.bucket);
    if (method === "HEAD") return {};
    if (method === "GET" && query.has("uploads")) return listUploads(call);
    if (method === "GET") return listObjects(call);
    if (method === "POST" && query.has("delete")) return deleteObjects(call);
  } else {
    bucketOf(call.state, call.bucket);
    if (method === "PUT") return query.has("partNumber") ? putPart(call) : putObject(call);
    if (method === "POST") return query.has("uploads") ? beginUpload(call) : completeUpload(call);
    if (method === "DELETE") return query.has("uploadId") ? abortUpload(call) : deleteObject(call);
    if (method === "GET" || method === "HEAD") return getObject(call);
  }
  throw refusal(501, "NotImplemented", "not offered here");
}

function createBucket({ state, bucket }: Call): Answer {
  if (!state.buckets.has(bucket)) state.buckets.set(bucket, new Map());
  return {};
}

function putObject(call: Call): Answer {
  refuseOverwrite(call);
  const object = stored(call.body, call.state.now());
  bucketOf(call.state, call.bucket).set(call.key, object);
  return { headers: { etag: object.etag } };
}

function getObject({ state, bucket, key, headers }: Call): Answer {
  const object = bucketOf(state, bucket).get(key);
  if (!object) throw refusal(404, "NoSuchKey", "no such key");
  const { body, etag, modifiedAt } = object;
  const all = { etag, "last-modified": modifiedAt.toUTCString(), "accept-ranges": "bytes" };
  const range = /^bytes=(\d+)-(\d*)$/.exec(headers.range ?? "");
  if (!range) return { headers: all, body };
  const from = Number(range[1]);
  const to = Math.min(range[2] ? Number(range[2]) : body.length - 1, body.length - 1);
  if (from > to) throw refusal(416, "InvalidRange", "nothing there");
  const contentRange = `bytes ${from}-${to}/${body.length}`;
  return {
    status: 206,
    headers: { ...all, "content-range": contentRange },
    body: body.subarray(from, to + 1),
  };
}

function deleteObject({ state, bucket, key }: Call): Answer {
  bucketOf(state, bucket).delete(key);
  return { status: 204 };
}

function deleteObjects({ state, bucket, body }: Call): Answer {
  const keys = tags(body.toString(), "Key").map(unescapeText);
  for (const key of keys) bucketOf(state, bucket).delete(key);
  const deleted = keys.map((key) => tag("Deleted", tag("Key", escapeText(key)))).join("");
  return { body: tag("DeleteResult", deleted) };
}

function listObjects({ state, bucket, query }: Call): Answer {
  const after = query.get("continuation-token") ?? query.get("start-after") ?? "";
  const size = Math.min(Number(query.get("max-keys") ?? pageSize), pageSize);
  const all = [...bucketOf(state, bucket)]
    .filter(([key]) => key.startsWith(query.get("prefix") ?? "") && key > after)
    .sort(([a], [b]) => (a < b ? -1 : 1));
  const page = all.slice(0, size);
  const isTruncated = all.length > page.length;
  const contents = page.map(([key, { body, etag, modifiedAt }]) =>
    tag(
      "Contents",
      tag("Key", escapeText(key)) +
        tag("LastModified", modifiedAt.toISOString()) +
        tag("ETag", escapeText(etag)) +
        tag("Size", `${body.length}`),
    ),
  );
  const next = isTruncated ? tag("NextContinuationToken", escapeText(page.at(-1)?.[0] ?? "")) : "";
  const head = tag("IsTruncated", `${isTruncated}`) + tag("KeyCount", `${page.length}`) + next;
  return { body: tag("ListBucketResult", head + contents.join("")) };
}

function beginUpload({ state, bucket, key }: Call): Answer {
  const id = createHash("sha256")
    .update(`${state.uploads.size} ${key} ${Math.random()}`)
    .digest("hex");
  state.uploads.set(id, { bucket, key, parts: new Map(), begunAt: state.now() });
  const ids = tag("Bucket", bucket) + tag("Key", escapeText(key)) + tag("UploadId", id);
  return { body: tag("InitiateMultipartUploadResult", ids) };
}

function putPart(call: Call): Answer {
  const number = Number(call.query.get("partNumber"));
  if (!(number >= 1 && number <= 10_000)) throw refusal(400, "InvalidArgument", "bad part number");
  const part = stored(call.body, call.state.now());
  uploadOf(call).parts.set(number, part);
  return { headers: { etag: part.etag } };
}

function completeUpload(call: Call): Answer {
  const upload = uploadOf(call);
  refuseOverwrite(call);
  const named = tags(call.body.toString(), "Part").map((text) => ({
    number: Number(tags(text, "PartNumber")[0]),
    etag: unescapeText(tags(text, "ETag")[0] ?? ""),
  }));
  if (named.some(({ number }, at) => at > 0 && number <= (named[at - 1]?.number ?? 0))) {
    throw refusal(400, "InvalidPartOrder", "parts must ascend");
  }
  const parts = named.map(({ number, etag }, at) => {
    const part = upload.parts.get(number);
    if (part?.etag.replaceAll('"', "") !== etag.replaceAll('"', "")) {
      throw refusal(400, "InvalidPart", `part ${number} is not the one that was uploaded`);
    }
    const isSmall = at < named.length - 1 && part.body.length < minPartBytes;
    if (isSmall) throw refusal(400, "EntityTooSmall", `part ${number} is below 5 MiB`);
    return part;
  });
  if (parts.length === 0) throw refusal(400, "MalformedXML", "no parts");
  const sums = parts.map(({ etag }) => Buffer.from(etag.replaceAll('"', ""), "hex"));
  const etag = `"${md5(Buffer.concat(sums))}-${parts.length}"`;
  const body = Buffer.concat(parts.map((part) => part.body));
  bucketOf(call.state, call.bucket).set(call.key, { body, etag, modifiedAt: call.state.now() });
  call.state.uploads.delete(call.query.get("uploadId") ?? "");
  return { body: tag("CompleteMultipartUploadResult", tag("ETag", escapeText(etag))) };
}

function abortUpload(call: Call): Answer {
  uploadOf(call);
  call.state.uploads.delete(call.query.get("uploadId") ?? "");
  return { status: 204 };
}

function listUploads({ state, bucket, query }: Call): Answer {
  const mine = [...state.uploads].filter(
    ([, upload]) => upload.bucket === bucket && upload.key.startsWith(query.get("prefix") ?? ""),
  );
  const uploads = mine.map(([id, { key, begunAt }]) => {
    const ids = tag("Key", escapeText(key)) + tag("UploadId", id);
    return tag("Upload", ids + tag("Initiated", begunAt.toISOString()));
  });
  return {
    body: tag("ListMultipartUploadsResult", tag("IsTruncated", "false") + uploads.join("")),
  };
}

function refuseOverwrite({ state, bucket, key, headers }: Call): void {
  if (headers["if-none-match"] === "*" && bucketOf(state, bucket).has(key)) {
    throw refusal(412, "PreconditionFailed", "the key is taken");
  }
}

function bucketOf(state: State, name: string): Map<string, Stored> {
  const bucket = state.buckets.get(name);
  if (!bucket) throw refusal(404, "NoSuchBucket", "no such bucket");
  return bucket;
}

function uploadOf({ state, query, key }: Call): Upload {
  const upload = state.uploads.get(query.get("uploadId") ?? "");
  if (!upload || upload.key !== key) throw refusal(404, "NoSuchUpload", "no such upload");
  return upload;
}

async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request) {
    size += chunk.length;
    if (size > maxBodyBytes) throw refusal(400, "EntityTooLarge", "too much");
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** The object's bytes, after the hash or framing that the signed headers promise. */
function checkBody(raw: Buffer, headers: IncomingMessage["headers"]): Buffer {
  const promised = String(headers["x-amz-content-sha256"]);
  if (promised === "STREAMING-UNSIGNED-PAYLOAD-TRAILER") {
    return decodeChunked(raw, Number(headers["x-amz-decoded-content-length"]));
  }
  if (promised.startsWith("STREAMING")) throw refusal(501, "NotImplemented", "signed chunks");
  const sum = createHash("sha256").update(raw).digest("hex");
  if (promised !== "UNSIGNED-PAYLOAD" && promised !== sum) {
    throw refusal(400, "XAmzContentSHA256Mismatch", "the body has another hash");
  }
  const contentMd5 = headers["content-md5"];
  if (contentMd5 && contentMd5 !== createHash("md5").update(raw).digest("base64")) {
    throw refusal(400, "BadDigest", "the body has another MD5");
  }
  return raw;
}

async function resetMidway(request: IncomingMessage): Promise<void> {
  await Promise.race([once(request, "data"), once(request, "end")]);
  request.socket.destroy();
}

function mishap(effect: S3Effect | undefined): S3Refusal | null {
  if (effect === "internal-error") return refusal(500, "InternalError", "try again");
  return effect === "slow-down" ? refusal(503, "SlowDown", "too many requests") : null;
}

function spoil(answer: Answer, effect: S3Effect | undefined): Answer {
  if (effect === "wrong-etag")
    return { ...answer, headers: { ...answer.headers, etag: `"${md5(Buffer.of(0))}"` } };
  if (effect !== "corrupt" || !Buffer.isBuffer(answer.body)) return answer;
  const body = Buffer.from(answer.body);
  body[body.length >> 1] = (body[body.length >> 1] ?? 0) ^ 1;
  return { ...answer, body };
}

function send(response: ServerResponse, isHead: boolean, answer: Answer, isCut: boolean): void {
  const { status = 200, headers = {}, body = "" } = answer;
  const bytes = Buffer.isBuffer(body) ? body : Buffer.from(body);
  response.writeHead(status, { ...headers, "content-length": bytes.length });
  if (!isCut) return void response.end(isHead ? undefined : bytes);
  response.write(bytes.subarray(0, bytes.length >> 1), () => response.destroy());
}

function refused(error: S3Refusal): Answer {
  const { status = 500, code = "InternalError", message = String(error) } = error;
  const body = tag("Error", tag("Code", code) + tag("Message", escapeText(message)));
  return { status, body, headers: status === 503 ? { "retry-after": "1" } : {} };
}

const refusal = (status: number, code: string, message: string): S3Refusal => ({
  status,
  code,
  message,
});
const stored = (body: Buffer, modifiedAt: Date): Stored => ({
  body,
  etag: etagOf(body),
  modifiedAt,
});
const md5 = (bytes: Buffer): string => createHash("md5").update(bytes).digest("hex");
const etagOf = (body: Buffer): string => `"${md5(body)}"`;
