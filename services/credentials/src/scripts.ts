/** The scripts of this family. */
import { runnerFiles } from "@chom/shared/script/runner";
import { script } from "@chom/shared/script/script";
import type { KeyLines } from "./key-lines.ts";

const file = (name: string) => new URL(`./scripts/${name}`, import.meta.url);

/** Puts a key into the account's managed block. Codes: permission-denied, invalid-config, disk-full, tool-missing. */
export const addKey = script({
  file: file("add-key.sh"),
  timeoutMs: 30_000,
  variables: (input: { user: string; blob: string; comment: string; lines: KeyLines }) => ({
    LOGIN_USER: input.user,
    KEY_BLOB: input.blob,
    KEY_COMMENT: input.comment,
    KEY_FROM: input.lines.from,
    KEY_RUNNER: input.lines.runner ? "yes" : "no",
  }),
  output: (fields) => ({
    changed: fields.flag("changed"),
    others: fields.count("others"),
    /** Lines of the managed block that somebody else wrote or changed; they are left as they are. */
    drift: fields.count("drift"),
  }),
});

/** Installs this release's runner with its list. Codes: permission-denied, tool-missing, disk-full. */
export const installRunner = script({
  file: file("install-runner.sh"),
  timeoutMs: 30_000,
  variables: ({ from }: Pick<KeyLines, "from">) => {
    const { runner, list } = runnerFiles();
    return { RUNNER: runner, RUNNER_LIST: list, KEY_FROM: from };
  },
  output: () => ({}),
});

/** Whether scripts come to the server through the runner. */
export const lookAtRunner = script({
  file: file("look-at-runner.sh"),
  timeoutMs: 30_000,
  variables: () => ({}),
  output: (fields) => ({ active: fields.flag("active") }),
});

/** Removes a key by its exact blob. Codes: lockout-risk when the key to keep is not there, permission-denied. */
export const removeKey = script({
  file: file("remove-key.sh"),
  timeoutMs: 30_000,
  variables: (input: { user: string; blob: string; keepBlob: string }) => ({
    LOGIN_USER: input.user,
    KEY_BLOB: input.blob,
    KEEP_BLOB: input.keepBlob,
  }),
  output: (fields) => ({ changed: fields.flag("changed") }),
});

/** Which key the connection logged in with, as the server tells it. */
export const proveLogin = script({
  file: file("prove-login.sh"),
  timeoutMs: 30_000,
  variables: (input: { user: string }) => ({ LOGIN_USER: input.user }),
  output: (fields) => ({
    proof: fields.text("proof"),
    blob: fields.text("key"),
    fingerprint: fields.text("fingerprint"),
  }),
});

/** Log-ins with a key since a moment; `known` is false when the server keeps no log that tells. */
export const findKeyUse = script({
  file: file("find-key-use.sh"),
  timeoutMs: 60_000,
  variables: (input: { fingerprint: string; since: Date }) => ({
    FINGERPRINT: input.fingerprint,
    SINCE: String(Math.ceil(input.since.getTime() / 1_000)),
  }),
  output: (fields) => ({
    known: fields.flag("known"),
    uses: fields.count("uses"),
    source: fields.text("source"),
  }),
});
