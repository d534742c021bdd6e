/** Results of steps and jobs as JSON text that keeps dates, bigints and absence, and refuses secrets. */
import { permanent } from "../failure/failure.ts";
import { containsSecret } from "../secrets/secret.ts";

/** Largest encoded result; bigger things are stored elsewhere and referred to. */
export const maxResultBytes = 256 * 1024;

const tags = { absent: "$absent", date: "$date", bigint: "$bigint", object: "$object" } as const;

function wrap(value: unknown): unknown {
  if (value === undefined) return { [tags.absent]: true };
  if (typeof value === "bigint") return { [tags.bigint]: value.toString() };
  if (value instanceof Date) return { [tags.date]: value.toISOString() };
  if (Array.isArray(value)) return value.map(wrap);
  if (typeof value !== "object" || value === null) return value;
  const wrapped = Object.fromEntries(
    Object.entries(value).flatMap(([key, part]) => (part === undefined ? [] : [[key, wrap(part)]])),
  );
  // An object of the caller's that looks like one of our tags is boxed, so that it comes back as it was.
  return Object.keys(wrapped).some((key) => key.startsWith("$"))
    ? { [tags.object]: wrapped }
    : wrapped;
}

const mapped = (value: object): Record<string, unknown> =>
  Object.fromEntries(Object.entries(value).map(([key, part]) => [key, unwrap(part)]));

function unwrap(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(unwrap);
  if (typeof value !== "object" || value === null) return value;
  const fields = value as Record<string, unknown>;
  if (tags.absent in fields) return undefined;
  if (tags.bigint in fields) return BigInt(String(fields[tags.bigint]));
  if (tags.date in fields) return new Date(String(fields[tags.date]));
  if (tags.object in fields) return mapped(fields[tags.object] as object);
  return mapped(fields);
}

/**
 * Encodes a result. Failures: `permanent` "secret-in-result" when a Secret sits in it (return a reference),
 * `permanent` "result-too-large" above 256 KiB.
 */
export function encodeResult(result: unknown): Buffer {
  if (containsSecret(result)) {
    throw permanent(
      "secret-in-result",
      "a result holds a secret: return a reference to it instead",
    );
  }
  const encoded = Buffer.from(JSON.stringify(wrap(result)));
  if (encoded.byteLength > maxResultBytes) {
    throw permanent(
      "result-too-large",
      `a result has ${encoded.byteLength} bytes, at most ${maxResultBytes} are kept`,
    );
  }
  return encoded;
}

/** The value that `encodeResult` was given. */
export const decodeResult = (encoded: Buffer): unknown => unwrap(JSON.parse(encoded.toString()));
