/** One signed request to an S3 store: retried a few times where that is safe, its errors turned into typed Failures. */
import { createHash } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { Failure, failureOf } from "@chom/shared/failure/failure";
import type { Secret } from "@chom/shared/secrets/secret";
import { AwsV4Signer } from "aws4fetch";

export type S3Settings = {
  /** Origin of the store, like `https://s3.example`; objects are addressed as `<endpoint>/<bucket>/<key>`. */
  endpoint: string;
  region: string;
  bucket: string;
  accessKeyId: string;
  secretAccessKey: Secret;
  /** First pause before a repetition, milliseconds; doubles. Default 500. */
  retryDelayMs?: number;
};

export type S3Request = {
  method: "GET" | "HEAD" | "PUT" | "POST" | "DELETE";
  /** Empty for the bucket itself. */
  key?: string;
  query?: Readonly<Record<string, string>>;
  headers?: Readonly<Record<string, string>>;
  body?: Buffer;
  signal?: AbortSignal | undefined;
};

/** The answer of a request that succeeded, and whether an earlier try may have been carried out unheard. */
export type S3Answer = { response: Response; tries: number };

const maxTries = 4;
const headersTimeoutMs = 30_000;
/** A part on the slowest line we put up with, 100 kB/s. */
const minBytesPerMs = 100;

/**
 * Sends a request, repeating it after network errors, 5xx and throttling, with doubling pauses. Throws the Failure of
 * the last answer; its message names S3's own code and never a header.
 */
export async function sendS3(settings: S3Settings, request: S3Request): Promise<S3Answer> {
  for (let tries = 1; ; tries += 1) {
    try {
      return { response: await sendOnce(settings, request), tries };
    } catch (error) {
      if (request.signal?.aborted) throw request.signal.reason;
      const failure = asFailure(error, request);
      const mayPass = failure.code === "repo-unavailable" || failure.code === "repo-throttled";
      if (!mayPass || tries === maxTries) throw Object.assign(failure, { tries });
      const pauseMs = (settings.retryDelayMs ?? 500) * 2 ** (tries - 1);
      await sleep(pauseMs, undefined, request.signal ? { signal: request.signal } : {});
    }
  }
}

async function sendOnce(settings: S3Settings, request: S3Request): Promise<Response> {
  const { method, key = "", query = {}, headers = {}, body } = request;
  const url = new URL(`${settings.endpoint}/${settings.bucket}${key ? `/${key}` : ""}`);
  for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
  const bodyHash = createHash("sha256")
    .update(body ?? "")
    .digest("hex");
  const signed = await new AwsV4Signer({
    method,
    url: url.href,
    headers: { ...headers, "x-amz-content-sha256": bodyHash },
    ...(body ? { body } : {}),
    accessKeyId: settings.accessKeyId,
    secretAccessKey: settings.secretAccessKey.reveal(),
    service: "s3",
    region: settings.region,
  }).sign();
  const answerBy = new AbortController();
  const timeoutMs = headersTimeoutMs + (body?.length ?? 0) / minBytesPerMs;
  const timer = setTimeout(() => answerBy.abort(new Error("no answer in time")), timeoutMs);
  try {
    const response = await fetch(signed.url, {
      method,
      headers: signed.headers,
      redirect: "error", // a store that points elsewhere is not ours
      signal: AbortSignal.any([answerBy.signal, ...(request.signal ? [request.signal] : [])]),
      ...(body ? { body } : {}),
    });
    if (response.ok) return response;
    throw failureOfAnswer(response, await response.text(), request);
  } finally {
    clearTimeout(timer);
  }
}

const codeOfS3: Readonly<Record<string, string>> = {
  NoSuchBucket: "bucket-missing",
  NoSuchKey: "object-missing",
  NoSuchUpload: "object-missing",
  PreconditionFailed: "object-exists",
  SlowDown: "repo-throttled",
  InvalidPart: "repo-unavailable",
  ConditionalRequestConflict: "repo-unavailable",
  RequestTimeout: "repo-unavailable",
};

const codeOfStatus: Readonly<Record<number, string>> = {
  401: "repo-auth",
  403: "repo-auth",
  404: "object-missing",
  408: "repo-unavailable",
  412: "object-exists",
  429: "repo-throttled",
  503: "repo-throttled",
};

/** The Failure that an answer's status and S3 code mean. */
export function failureOfAnswer(response: Response, text: string, request: S3Request): Failure {
  const s3Code = /<Code>([A-Za-z]{1,60})<\/Code>/.exec(text)?.[1] ?? "";
  const code =
    codeOfS3[s3Code] ??
    codeOfStatus[response.status] ??
    (response.status >= 500 || response.ok ? "repo-unavailable" : "protocol-error");
  const seconds = Number(response.headers.get("retry-after"));
  const message = `the object store answered ${response.status} ${s3Code} to ${describe(request)}`;
  return failureOf(code, message, seconds > 0 ? { retryAfterMs: seconds * 1000 } : {});
}

const describe = ({ method, key }: S3Request): string => `${method} ${key || "the bucket"}`;

function asFailure(error: unknown, request: S3Request): Failure {
  if (error instanceof Failure) return error;
  return failureOf("repo-unavailable", `the object store cannot be reached: ${describe(request)}`, {
    cause: error,
  });
}
