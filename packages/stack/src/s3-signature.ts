/** What an S3 server checks before it believes a request: the SigV4 header and the framing of `aws-chunked` bodies. */
import { createHash, createHmac, timingSafeEqual } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { crc32 } from "node:zlib";

export type S3Credentials = { accessKeyId: string; secretAccessKey: string };

/** A refusal in S3's own words; `status` is the HTTP status. */
export type S3Refusal = { status: number; code: string; message: string };

const maxSkewMs = 15 * 60_000;
const shape =
  /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([^/]+)\/s3\/aws4_request, ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})$/;

/** Null when the request is signed by these credentials, now, for this body hash; otherwise the refusal. */
export function refuseSignature(
  request: IncomingMessage,
  { accessKeyId, secretAccessKey }: S3Credentials,
  now: Date,
): S3Refusal | null {
  const parts = shape.exec(request.headers.authorization ?? "");
  const [, keyId, day, region, signedHeaders = "", signature] = parts ?? [];
  if (!parts || !day || !region || !signature)
    return denied("AccessDenied", "not signed with SigV4");
  if (keyId !== accessKeyId) return denied("InvalidAccessKeyId", "no such access key");
  const time = String(request.headers["x-amz-date"] ?? "");
  const at = Date.parse(time.replace(/^(....)(..)(..)T(..)(..)(..)Z$/, "$1-$2-$3T$4:$5:$6Z"));
  if (!(Math.abs(now.getTime() - at) <= maxSkewMs) || !time.startsWith(day)) {
    return denied("RequestTimeTooSkewed", "the clocks are too far apart");
  }
  const names = signedHeaders.split(";");
  const needed = ["host", "x-amz-content-sha256", "x-amz-date"];
  if (!needed.every((name) => names.includes(name))) {
    return denied("AccessDenied", "host, date and body hash must be signed");
  }
  const scope = `${day}/${region}/s3/aws4_request`;
  const text = ["AWS4-HMAC-SHA256", time, scope, sha256(canonicalRequest(request, names))].join(
    "\n",
  );
  const key = [day, region, "s3", "aws4_request"].reduce<Buffer | string>(
    hmac,
    `AWS4${secretAccessKey}`,
  );
  const isSame = timingSafeEqual(hmac(key, text), Buffer.from(signature, "hex"));
  return isSame ? null : denied("SignatureDoesNotMatch", "the signature is not the expected one");
}

/**
 * The object's bytes out of an `aws-chunked` body without chunk signatures. Throws an `S3Refusal` when the framing, the
 * length or the trailing CRC32 does not fit.
 */
export function decodeChunked(body: Buffer, decodedLength: number): Buffer {
  const chunks: Buffer[] = [];
  let at = 0;
  for (;;) {
    const end = body.indexOf("\r\n", at);
    const size = Number.parseInt(body.subarray(at, Math.max(end, at)).toString("latin1"), 16);
    if (end < 0 || !(size >= 0) || end + 2 + size > body.length) throw badBody("IncompleteBody");
    at = end + 2;
    if (size === 0) break;
    chunks.push(body.subarray(at, at + size));
    at += size + 2;
  }
  const content = Buffer.concat(chunks);
  if (content.length !== decodedLength) throw badBody("IncompleteBody");
  const trailer = /x-amz-checksum-crc32:\s*(\S+)/i.exec(body.subarray(at).toString("latin1"))?.[1];
  if (trailer !== undefined && trailer !== base64Crc32(content)) throw badBody("BadDigest");
  return content;
}

/** CRC32 as S3 writes it: four bytes, big-endian, base64. */
export function base64Crc32(content: Buffer): string {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(crc32(content));
  return bytes.toString("base64");
}

function canonicalRequest(request: IncomingMessage, names: readonly string[]): string {
  const [path = "/", query = ""] = (request.url ?? "/").split("?");
  const pairs = query.split("&").filter(Boolean).map(canonicalPair).sort();
  const headers = names.map((name) => {
    const value = String(request.headers[name] ?? "")
      .trim()
      .replace(/ +/g, " ");
    return `${name}:${value}\n`;
  });
  const bodyHash = String(request.headers["x-amz-content-sha256"]);
  return [request.method, path, pairs.join("&"), headers.join(""), names.join(";"), bodyHash].join(
    "\n",
  );
}

function canonicalPair(pair: string): string {
  const [key = "", value = ""] = pair.split("=");
  return `${reencode(key)}=${reencode(value)}`;
}

const reencode = (text: string): string =>
  encodeURIComponent(decodeURIComponent(text)).replace(
    /[!'()*]/g,
    (letter) => `%${letter.charCodeAt(0).toString(16).toUpperCase()}`,
  );

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");
const hmac = (key: Buffer | string, text: string): Buffer =>
  createHmac("sha256", key).update(text).digest();
const denied = (code: string, message: string): S3Refusal => ({ status: 403, code, message });
const badBody = (code: string): S3Refusal => ({
  status: 400,
  code,
  message: "the body does not fit",
});
