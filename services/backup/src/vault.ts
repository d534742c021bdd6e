/** The vault: where archives and manifests live, away from the servers. Two implementations, one conformance suite. */
import { createHash } from "node:crypto";
import { type Readable, Transform } from "node:stream";
import { failureOf } from "@chom/shared/failure/failure";

/** What was stored: exact bytes and their SHA-256 in hex. A type and not an interface, so that a step may remember it. */
export type Stored = { sizeBytes: number; sha256: string };

/** What a reader expects to find; a size that is left out is not compared. */
export type Expected = { sizeBytes?: number; sha256: string };

export type Listed = { key: string; sizeBytes: number };

export type PutOptions = {
  /** About how many bytes will come; chooses the part size. Default 1 GiB. */
  estimatedBytes?: number;
  signal?: AbortSignal;
};

/**
 * An object store. Keys are `checkKey`'s; all failures are typed: `repo-unavailable` and `repo-throttled` (with
 * retryAfterMs) may pass, `repo-auth` and `bucket-missing` need a person, `disk-full` waits.
 */
export type Vault = {
  /**
   * Stores a stream under a new key with bounded memory. All or nothing: after a failure the key does not exist.
   * `object-exists` when the key is taken: nothing in a vault is ever overwritten.
   */
  put(key: string, content: Readable, options?: PutOptions): Promise<Stored>;
  /**
   * Reads an object back. The stream fails with `checksum-mismatch` at its end when size or hash differ, so nothing
   * may be believed before it ended. `object-missing` when there is none.
   */
  get(key: string, expected: Expected, signal?: AbortSignal): Promise<Readable>;
  /** Null when there is no such object. */
  head(key: string): Promise<{ sizeBytes: number } | null>;
  /** Everything whose key begins with `prefix`, sorted by key. */
  list(prefix: string): Promise<readonly Listed[]>;
  /** Gone afterwards, whether it was there or not. */
  delete(key: string): Promise<void>;
  /** Removes what interrupted writers left behind and that began before then; answers how many. */
  sweep(begunBefore: Date): Promise<number>;
};

const keyPattern = /^[A-Za-z0-9_-][A-Za-z0-9._-]*(\/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$/;

/** Keys are made by us from ids: 1 to 512 characters, no empty, hidden or dotted segments. Throws `invalid-config`. */
export function checkKey(key: string): string {
  if (key.length > 512 || !keyPattern.test(key)) {
    throw failureOf("invalid-config", "a vault key must be made of ids and slashes");
  }
  return key;
}

/** Counts and hashes what flows through. */
export function measure(): { stream: Transform; measured: () => Stored } {
  const hash = createHash("sha256");
  let sizeBytes = 0;
  let sha256: string | undefined;
  const stream = new Transform({
    transform(data: Buffer, _encoding, done) {
      hash.update(data);
      sizeBytes += data.length;
      done(null, data);
    },
  });
  const measured = (): Stored => {
    sha256 ??= hash.digest("hex");
    return { sizeBytes, sha256 };
  };
  return { stream, measured };
}

/** Passes bytes on and fails with `checksum-mismatch` at the end (or as soon as there are too many) unless they are the expected ones. */
export function verifying(key: string, expected: Expected): Transform {
  const hash = createHash("sha256");
  let sizeBytes = 0;
  const mismatch = (what: string) =>
    failureOf("checksum-mismatch", `the object ${key} has ${what}`);
  const isTooLong = () => expected.sizeBytes !== undefined && sizeBytes > expected.sizeBytes;
  return new Transform({
    transform(data: Buffer, _encoding, done) {
      hash.update(data);
      sizeBytes += data.length;
      if (isTooLong()) done(mismatch("more bytes than were stored"));
      else done(null, data);
    },
    flush(done) {
      if (expected.sizeBytes !== undefined && sizeBytes !== expected.sizeBytes) {
        done(mismatch(`${sizeBytes} bytes instead of ${expected.sizeBytes}`));
      } else if (hash.digest("hex") !== expected.sha256) done(mismatch("another SHA-256"));
      else done();
    },
  });
}
