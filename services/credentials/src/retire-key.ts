/** `key.retire`: the old key is taken away when nobody uses it any more, and proven to be refused. */
import { RetireKeyInput } from "@chom/proto/chom/credentials/v1/events";
import { classify, failureOf, notFound } from "@chom/shared/failure/failure";
import { job } from "@chom/shared/job/job";
import type { Run } from "@chom/shared/job/run";
import type { KeyJobParts } from "./rotate-key.ts";
import { findKeyUse, proveLogin, removeKey } from "./scripts.ts";
import { currentKey, type Key, keyOf, type Server, server } from "./server.ts";
import { blobOf } from "./ssh-key.ts";

/** So long nobody may have used the old key. */
const quietMs = 3_600_000;

/** The key to retire and the one that stays; Failure `lockout-risk` when there would be none. */
function pairOf(state: Server, { serverId, keyId }: RetireKeyInput): { old: Key; stays: Key } {
  if (state.status === "absent") throw notFound("server", serverId);
  const [old, stays] = [keyOf(state, keyId), currentKey(state)];
  if (!old) throw notFound("key", keyId);
  if (!stays || stays.keyId === keyId) {
    throw failureOf("lockout-risk", "no other key is known to open the server");
  }
  return { old, stays };
}

/** A new login with the old key: being refused is the success. */
async function mustBeRefused(run: Run, serverId: string, user: string, old: Key): Promise<void> {
  try {
    await run.ask(proveLogin, serverId, { user }, { keyId: old.keyId });
  } catch (error) {
    if (classify(error).code === "ssh-auth-failed") return;
    throw error;
  }
  throw failureOf("old-key-still-works", "the server still accepts the retired key");
}

/** An exposed key was promoted away without overlap: waiting for its users to leave would help the thief. */
const isExposed = (old: Key, promotedAt: Date): boolean =>
  old.retireAt !== undefined && old.retireAt.getTime() <= promotedAt.getTime();

/** Waits (no attempt spent) while the server's log shows the old key in use, then removes it for good. */
export const retireKey = ({ app, store, decided }: KeyJobParts) =>
  job(server, {
    name: "key.retire",
    input: RetireKeyInput,
    of: ({ serverId }) => serverId,
    server: ({ serverId }) => serverId,
    done: "retire",
    failed: "failRetirement",
    cancelled: "abandonRetirement",
    queue: "high",
    tries: 3,
    timeoutMs: 300_000,
    backoffMs: [60_000],
    exclusive: ({ serverId }) => [`server.${serverId}`],

    async work(input, run) {
      const { serverId, keyId } = input;
      const { state } = await app.load(server, run.tenant, serverId);
      const { old, stays } = pairOf(state, input);
      if (old.status !== "overlap") return run.skip(`the key is ${old.status}`);
      const { user } = state;
      const promotedAt = input.promotedAt ?? new Date(0);
      const { fingerprint } = old;

      // The key that stays must open the server by itself, now.
      await run.ask(proveLogin, serverId, { user }, { keyId: stays.keyId });
      if (!isExposed(old, promotedAt)) {
        const since = new Date(Math.max(promotedAt.getTime(), run.now().getTime() - quietMs));
        const use = await run.ask(findKeyUse, serverId, { fingerprint, since });
        if (use.uses > 0) {
          return run.defer(
            { minutes: 60 },
            `the old key is used from ${use.source}`,
            "old-key-in-use",
          );
        }
      }
      await run.script("take the key away", removeKey, serverId, {
        user,
        blob: blobOf(old.publicKey),
        keepBlob: blobOf(stays.publicKey),
      });
      await mustBeRefused(run, serverId, user, old);
      const retired = { tenant: run.tenant, serverId, keyId, jobId: run.id };
      await decided?.("key.retire", retired, "refused by its server");
      await run.step("forget the key", () => store.forget({ tenant: run.tenant, serverId, keyId }));
      return { fingerprint };
    },
  });
