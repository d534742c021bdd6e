/** Compare-and-set on the bucket `leases`, raw: the KV client cannot renew a key and keep its time to live. */
import { setTimeout as sleep } from "node:timers/promises";
import { classify, transient } from "../failure/failure.ts";
import {
  getFromLeader,
  type Nats,
  publish,
  type StoredMessage,
  valueOf,
} from "../event-log/nats.ts";
import { type KvBucket, kvSubject } from "../topology/subjects.ts";

export const stream = "KV_leases";
const timeoutMs = 2_000;
const giveUpAfterMs = 6_000;
const wrongSequence = 10071;
const wrongSequenceInFlight = 10164;

export type Bucket = Exclude<KvBucket, "snapshots">;

/** True for what stands where a key was: deleted, purged or expired. */
export const isGone = (message: StoredMessage): boolean =>
  message.header("KV-Operation") !== "" || message.header("Nats-Marker-Reason") !== "";

/** The current message of a key, from the leader; also a marker that says the key is gone. */
export const current = (
  nats: Nats,
  key: string,
  bucket: Bucket = "leases",
): Promise<StoredMessage | undefined> =>
  getFromLeader(nats, `KV_${bucket}`, { last_by_subj: kvSubject(bucket, key) });

export type Write = {
  /** Default `leases`. */
  readonly bucket?: Bucket;
  readonly key: string;
  readonly body: string;
  /** Whole seconds, at least 1; without it the key stays. */
  readonly ttlSeconds?: number;
  /** Revision the key must have, 0 for none; undefined for whatever it has. */
  readonly expected?: number;
  /** Leaves a marker instead of a value. */
  readonly remove?: boolean;
};

/**
 * The new revision, or "moved" when the key has another one than expected. After a lost answer it may say "moved" for
 * a write of its own: who writes must recognise its value. Fails with `log-unavailable` after about 6 s.
 */
export async function write(nats: Nats, request: Write): Promise<number | "moved"> {
  const { bucket = "leases", key, body, ttlSeconds, expected, remove } = request;
  const headers = {
    ...(ttlSeconds === undefined ? {} : { "Nats-TTL": `${ttlSeconds}s` }),
    ...(expected === undefined ? {} : { "Nats-Expected-Last-Subject-Sequence": String(expected) }),
    ...(remove ? { "KV-Operation": "DEL" } : {}),
  };
  const giveUpAt = performance.now() + giveUpAfterMs;
  for (;;) {
    try {
      const answer = await publish(nats, kvSubject(bucket, key), body, { headers, timeoutMs });
      if ("fault" in answer && answer.fault.code === wrongSequence) return "moved";
      if ("fault" in answer && answer.fault.code === wrongSequenceInFlight) {
        throw transient("log-unavailable", `another write of ${key} is under way`);
      }
      return valueOf(answer, `writing ${key}`).seq;
    } catch (error) {
      const failure = classify(error);
      if (failure.code !== "log-unavailable" || performance.now() >= giveUpAt) throw error;
      await sleep(50);
    }
  }
}
