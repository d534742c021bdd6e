/** `key.rotate`: a new key is made, installed beside the old one, proven by a fresh login, and promoted. */
import { RotateKeyInput } from "@chom/proto/chom/credentials/v1/events";
import { hashId } from "@chom/shared/aggregate/id";
import { failureOf, notFound, rejected } from "@chom/shared/failure/failure";
import { job } from "@chom/shared/job/job";
import type { App } from "@chom/shared/service/app";
import type { KeyDecision } from "./audited-keys.ts";
import type { KeyStore } from "./key-store.ts";
import { type KeyLines, plainLines } from "./key-lines.ts";
import { addKey, installRunner, lookAtRunner, proveLogin, removeKey } from "./scripts.ts";
import { currentKey, type NewKey, type Server, server, unfinishedKey } from "./server.ts";
import { blobOf } from "./ssh-key.ts";

export type KeyJobParts = {
  readonly app: Pick<App, "load">;
  readonly store: KeyStore;
  /** Options of the lines of new keys; default: `restrict` alone. */
  readonly lines?: KeyLines;
  /** Writes a decision about a key down before it takes effect. */
  readonly decided?: KeyDecision;
};

/** Throws unless the server is one whose key may be rotated by this job. */
function rotatable(state: Server, serverId: string, jobId: string): { current: NewKey } {
  if (state.status === "absent") throw notFound("server", serverId);
  const current = currentKey(state);
  if (state.status !== "active" || !current) {
    throw failureOf("server-not-ready", `the server is ${state.status}`);
  }
  const other = unfinishedKey(state);
  if (other && other.jobId !== jobId) {
    throw rejected("rotation-unfinished", "the previous rotation has not retired its key yet");
  }
  return { current };
}

/** Failure `lockout-risk` when the server says that another key than this one opened the connection. */
function mustBe(key: NewKey, proof: { proof: string; blob: string; fingerprint: string }): void {
  const fits =
    proof.proof === "auth-info"
      ? proof.blob === blobOf(key.publicKey)
      : proof.proof !== "log" || proof.fingerprint === key.fingerprint;
  if (!fits) throw failureOf("lockout-risk", "the server says that another key opened the login");
}

/** Only our own lines are ours to change: what somebody else did to the block goes into the audit, for a person. */
async function noticed(
  drift: number,
  about: Parameters<KeyDecision>[1],
  decided: KeyDecision | undefined,
): Promise<void> {
  // A step that an older release remembers tells no number.
  if (!(drift > 0)) return;
  const reason = `${drift} lines of the managed block of authorized_keys are not as we write them`;
  await decided?.("authorized-keys.drift", about, reason);
}

/** Until the promotion, which is one event, the old key stays as it is and everything done is undone on failure. */
export const rotateKey = ({ app, store, lines = plainLines, decided }: KeyJobParts) =>
  job(server, {
    name: "key.rotate",
    input: RotateKeyInput,
    of: ({ serverId }) => serverId,
    server: ({ serverId }) => serverId,
    done: "promote",
    failed: "failRotation",
    cancelled: "abandonRotation",
    queue: "high",
    tries: 3,
    timeoutMs: 300_000,
    backoffMs: [60_000],
    exclusive: ({ serverId }) => [`server.${serverId}`],

    async work({ serverId }, run) {
      const { state } = await app.load(server, run.tenant, serverId);
      const { current } = rotatable(state, serverId, run.id);
      const { user } = state;
      const address = {
        tenant: run.tenant,
        serverId,
        keyId: hashId("key", run.id, run.generation),
      };

      const key = await run.step("make the key", () => store.create(address), {
        undo: () => store.forget(address),
      });
      await run.record("note the key", "stage", { serverId, jobId: run.id, ...key });
      // A server that has a runner keeps the one that its operator gave it: through it nobody changes it.
      if (lines.runner && !(await run.ask(lookAtRunner, serverId, {})).active) {
        await run.script("install the runner", installRunner, serverId, lines);
      }
      const blob = blobOf(key.publicKey);
      const { drift } = await run.script(
        "let the key in",
        addKey,
        serverId,
        { user, blob, comment: `chom:${serverId}:${key.keyId}`, lines },
        {
          undo: async (_, undoing) => {
            const keepBlob = blobOf(current.publicKey);
            await undoing.script(removeKey, serverId, { user, blob, keepBlob });
          },
        },
      );
      await noticed(drift, { ...address, jobId: run.id }, decided);
      run.progress(60, "the new key is installed");
      // A new connection that offers this key only; becoming root is part of every script.
      mustBe(key, await run.ask(proveLogin, serverId, { user }, { keyId: key.keyId }));
      await decided?.("key.promote", { ...address, jobId: run.id }, "proven by a fresh login");
      return { ...key, previousKeyId: current.keyId };
    },
  });
