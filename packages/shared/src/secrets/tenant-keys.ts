/**
 * The Sealer of every service: tenants' keys, brought when first needed, held as key objects, and confirmed once a second
 * to be still those that credentials hands out. Data keys are derived from them, one per purpose and month.
 */
import { createHmac, createSecretKey, type KeyObject } from "node:crypto";
import { isId } from "../aggregate/id.ts";
import { classify, Failure, operator, permanent, transient } from "../failure/failure.ts";
import { bound, derivedKey, openBytes, type Random, sealBytes } from "./aead.ts";
import { type KeyEntry, newestOf, wrapContext } from "./key-entry.ts";
import type { RootKeys } from "./root-keys.ts";
import type { Sealer } from "./sealer.ts";

/** Where tenants' wrapped keys come from. */
export type KeyDirectory = {
  /** The present entry, never a stale one. */
  find(tenant: string): Promise<KeyEntry | undefined>;
  /** Whose entries changed after a revision, and the newest revision; undefined as revision: only asks where it is. */
  changes(
    after: number | undefined,
  ): Promise<{ readonly revision: number; readonly tenants: readonly string[] | "all" }>;
  /** Has credentials make the tenant's first key, or tell the one that it made before. */
  make(tenant: string): Promise<KeyEntry>;
};

export type TenantKeysOptions = {
  readonly directory: KeyDirectory;
  readonly roots: RootKeys;
  /** Opens what was sealed before tenants had keys; undefined where there is no such root. */
  readonly before: Sealer | undefined;
  readonly random: Random;
  nowMs(): number;
  /** Any clock that never goes back, in ms. */
  elapsedMs(): number;
  /** Unconfirmed for longer than this, keys are not used. Default 10 s. */
  readonly staleMs?: number;
};

export type TenantKeys = Sealer & {
  /** Confirms what is held, or replaces it. Fails when the directory cannot be asked. */
  refresh(): Promise<void>;
};

/** More tenants than this at once in one process are brought anew. */
const heldMax = 20_000;
const dataKeysMax = 256;
const tenantMax = 32;
const keyIdPattern = /^t(\d{1,9})\.(\d{4}-\d{2})$/;

/** Keys by version; one that could not be unwrapped is the reason why. */
type Held =
  | { readonly erased: true }
  | {
      readonly erased: false;
      readonly newest: number;
      readonly versions: ReadonlyMap<number, KeyObject | Failure>;
      readonly dataKeys: Map<string, KeyObject>;
    };

const unavailable = (tenant: string, cause?: unknown): Failure =>
  transient("tenant-key-unavailable", `the keys of tenant ${tenant} are not to be had now`, {
    cause,
  });

const erased = (tenant: string): Failure =>
  permanent("tenant-erased", `the keys of tenant ${tenant} were destroyed: nothing of it opens`);

const isTenant = (tenant: string): boolean => isId(tenant) && tenant.length <= tenantMax;

/** Unwraps every version. What passes fails the whole; what does not is remembered for that version only. */
async function heldOf(entry: KeyEntry, tenant: string, roots: RootKeys): Promise<Held> {
  if (entry.state === "erased") return { erased: true };
  const versions = await Promise.all(
    entry.keys.map(async ({ version, ...box }): Promise<[number, KeyObject | Failure]> => {
      try {
        const key = await roots.unwrap(box, wrapContext(tenant, version));
        const object = createSecretKey(key.reveal());
        key.reveal().fill(0);
        return [version, object];
      } catch (error) {
        const failure = classify(error);
        if (failure.kind === "transient") throw failure;
        return [version, failure];
      }
    }),
  );
  const newest = newestOf(entry.keys);
  return { erased: false, newest, versions: new Map(versions), dataKeys: new Map() };
}

/** `2026-11`, made anew only when the month ends. */
function monthly(nowMs: () => number): () => string {
  let month = "";
  let until = 0;
  return () => {
    const ms = nowMs();
    if (ms >= until) {
      const at = new Date(ms);
      month = at.toISOString().slice(0, 7);
      until = Date.UTC(at.getUTCFullYear(), at.getUTCMonth() + 1);
    }
    return month;
  };
}

/** Brings keys of tenants into `held`; `outdated` makes one that is under way look again. */
function loader({ directory, roots }: TenantKeysOptions, held: Map<string, Held>) {
  const loading = new Map<string, { done: Promise<void>; outdated: boolean }>();

  async function fetch(tenant: string, mine: { outdated: boolean }): Promise<void> {
    do {
      mine.outdated = false;
      const entry = (await directory.find(tenant)) ?? (await directory.make(tenant));
      const keys = await heldOf(entry, tenant, roots);
      if (mine.outdated) continue;
      if (held.size >= heldMax) held.delete(held.keys().next().value ?? "");
      held.set(tenant, keys);
    } while (mine.outdated);
  }
  /** Once for all who want the same. */
  function load(tenant: string): Promise<void> {
    const under = loading.get(tenant);
    if (under) return under.done;
    const mine = { outdated: false, done: Promise.resolve() };
    mine.done = fetch(tenant, mine).finally(() => loading.delete(tenant));
    loading.set(tenant, mine);
    return mine.done;
  }
  return { load, loading };
}

/** What is held, and how sure it is that it still counts. */
function holder(options: TenantKeysOptions) {
  const { directory, elapsedMs, staleMs = 10_000 } = options;
  const held = new Map<string, Held>();
  const { load, loading } = loader(options, held);
  let confirmedAt = Number.NEGATIVE_INFINITY;
  let seen: number | undefined;
  let refreshing: Promise<void> | undefined;
  const isFresh = () => elapsedMs() - confirmedAt <= staleMs;

  async function reload(tenant: string): Promise<void> {
    const under = loading.get(tenant);
    if (under) under.outdated = true;
    if (!held.has(tenant)) return;
    try {
      await load(tenant);
    } catch {
      // What may be destroyed is not used on.
      held.delete(tenant);
    }
  }
  async function confirm(): Promise<void> {
    const begun = elapsedMs();
    const { revision, tenants } = await directory.changes(seen);
    const names = tenants === "all" ? [...held.keys(), ...loading.keys()] : tenants;
    await Promise.all([...new Set(names)].map(reload));
    seen = revision;
    confirmedAt = begun;
  }
  const refresh = (): Promise<void> =>
    (refreshing ??= confirm().finally(() => {
      refreshing = undefined;
    }));

  async function bring(tenant: string): Promise<void> {
    try {
      if (!isFresh()) await refresh();
      if (!held.has(tenant)) await load(tenant);
    } catch (error) {
      const failure = classify(error);
      throw failure.code === "tenant-key-unavailable" ? failure : unavailable(tenant, failure);
    }
  }
  return {
    refresh,
    ready: (tenant: string): Promise<void> | undefined =>
      (held.has(tenant) && isFresh()) || !isTenant(tenant) ? undefined : bring(tenant),
    /** The keys of a tenant that is alive. */
    of(tenant: string) {
      const keys = held.get(tenant);
      if (!keys || !isFresh()) {
        // For the next try.
        if (isTenant(tenant)) bring(tenant).catch(() => {});
        throw unavailable(tenant);
      }
      if (keys.erased) throw erased(tenant);
      return keys;
    },
  };
}

type Alive = Extract<Held, { erased: false }>;

function versionOf(keys: Alive, tenant: string, version: number): KeyObject {
  const key = keys.versions.get(version);
  if (!key) throw operator("key-missing", `tenant ${tenant} has no key of version ${version}`);
  if (key instanceof Failure) throw key;
  return key;
}

/**
 * A data key: derived, not stored, so that it needs no directory of its own and is gone with its tenant's key. One per
 * purpose (the first word of the context) and month keeps the texts under one key far below 2^32.
 */
function dataKey(keys: Alive, tenant: string, purpose: string, keyId: string): KeyObject {
  const name = `${keyId} ${purpose}`;
  const found = keys.dataKeys.get(name);
  if (found) return found;
  const [, version = "0"] = keyIdPattern.exec(keyId) ?? [];
  const from = versionOf(keys, tenant, Number(version));
  const key = derivedKey(from, ["data", tenant, purpose, keyId]);
  if (keys.dataKeys.size >= dataKeysMax) keys.dataKeys.clear();
  keys.dataKeys.set(name, key);
  return key;
}

function fingerprintKey(keys: Alive, tenant: string): KeyObject {
  const found = keys.dataKeys.get("fingerprint");
  if (found) return found;
  // Of the oldest key, so that fingerprints stay comparable when a tenant gets a new one.
  const key = derivedKey(versionOf(keys, tenant, 1), ["fingerprint", tenant]);
  keys.dataKeys.set("fingerprint", key);
  return key;
}

/** True for what a tenant's key sealed; the rest was sealed with keys derived from a root. */
export const isTenantKeyId = (keyId: string): boolean => keyIdPattern.test(keyId);

/** Makes the Sealer. Nothing is asked before it is needed. */
export function tenantKeys(options: TenantKeysOptions): TenantKeys {
  const { random, before } = options;
  const holding = holder(options);
  const month = monthly(options.nowMs);
  return {
    ready: holding.ready,
    refresh: holding.refresh,
    seal(tenant, context, plain) {
      const keys = holding.of(tenant);
      const keyId = `t${keys.newest}.${month()}`;
      const key = dataKey(keys, tenant, context[0] ?? "", keyId);
      return { keyId, ciphertext: sealBytes(key, bound([tenant, ...context]), plain, random) };
    },
    open(tenant, context, sealed) {
      const keys = holding.of(tenant);
      if (!isTenantKeyId(sealed.keyId)) {
        if (before) return before.open(tenant, context, sealed);
        throw operator("key-missing", `no root key "${sealed.keyId}" is at hand`);
      }
      const key = dataKey(keys, tenant, context[0] ?? "", sealed.keyId);
      return openBytes(key, bound([tenant, ...context]), sealed.ciphertext);
    },
    fingerprint: (tenant, bytes) =>
      createHmac("sha256", fingerprintKey(holding.of(tenant), tenant))
        .update(bytes)
        .digest("hex"),
  };
}
