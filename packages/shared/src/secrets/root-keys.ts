/** The roots that wrap tenants' keys: the port of two methods, and the roots of a file. */
import { createSecretKey, type KeyObject } from "node:crypto";
import { operator } from "../failure/failure.ts";
import { bound, derivedKey, openBytes, type Random, sealBytes } from "./aead.ts";
import type { RootKey } from "./keyring.ts";
import { Secret } from "./secret.ts";

export type Wrapped = {
  /** Which root it needs; changes when a newer one wraps. */
  readonly rootId: string;
  readonly wrapped: Buffer;
};

/** A key management service in its smallest form. `context` is authenticated: a wrapped key fits its place only. */
export type RootKeys = {
  /** Wraps with the newest root. Failure `transient` "root-unavailable" when it cannot be asked. */
  wrap(key: Secret<Buffer>, context: readonly string[]): Promise<Wrapped>;
  /** Also `operator` "key-missing" for a root that is gone, and `permanent" "seal-broken". */
  unwrap(box: Wrapped, context: readonly string[]): Promise<Secret<Buffer>>;
};

const purpose = ["wrap tenant keys"];

/** The roots of a key file, newest first: the first wraps, all of them unwrap. */
export function fileRoots(roots: readonly RootKey[], random: Random): RootKeys {
  const keys = new Map<string, KeyObject>(
    roots.map(({ keyId, key }) => [keyId, derivedKey(createSecretKey(key.reveal()), purpose)]),
  );
  const find = (rootId: string): KeyObject => {
    const key = keys.get(rootId);
    if (!key) throw operator("key-missing", `no root key "${rootId}" in the key file`);
    return key;
  };
  return {
    async wrap(key, context) {
      const rootId = roots[0]?.keyId ?? "";
      const aad = bound([rootId, ...context]);
      return { rootId, wrapped: sealBytes(find(rootId), aad, key.reveal(), random) };
    },
    async unwrap({ rootId, wrapped }, context) {
      return new Secret(openBytes(find(rootId), bound([rootId, ...context]), wrapped));
    },
  };
}

/** The first of these wraps; who unwraps is told by the root's id. So tenants can move from one kind of root to another. */
export const eitherRoots = (
  first: RootKeys,
  second: RootKeys,
  isFirst: (rootId: string) => boolean,
): RootKeys => ({
  wrap: (key, context) => first.wrap(key, context),
  unwrap: (box, context) => (isFirst(box.rootId) ? first : second).unwrap(box, context),
});
