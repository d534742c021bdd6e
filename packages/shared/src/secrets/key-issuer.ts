/** Who makes, hands out, renews and destroys tenants' keys: rows that are the truth, and the directory that all read. */
import { invalid, permanent, rejected, transient } from "../failure/failure.ts";
import { isId } from "../aggregate/id.ts";
import { keyBytes, type Random } from "./aead.ts";
import {
  entryText,
  type KeyEntry,
  newestOf,
  reconciled,
  wrapContext,
  type WrappedKey,
} from "./key-entry.ts";
import type { RootKeys } from "./root-keys.ts";
import { Secret } from "./secret.ts";

/** The truth: never rebuilt, part of CHOM's own backup. */
export type KeyRows = {
  find(tenant: string): Promise<KeyEntry | undefined>;
  /** Does nothing when the version is there, or the tenant is erased. */
  add(tenant: string, key: WrappedKey): Promise<void>;
  /** Replaces the wrapping of a version that still needs `rootId`. */
  rewrap(tenant: string, rootId: string, key: WrappedKey): Promise<void>;
  /** Deletes every version and remembers that; how many there were. Again changes nothing and keeps the first time. */
  erase(tenant: string, at: Date): Promise<number>;
};

/** The directory as its only writer sees it. */
export type KeyShelf = {
  /** The text of a tenant's entry and its revision, 0 when nothing was ever there. */
  read(tenant: string): Promise<{ readonly text: string | undefined; readonly revision: number }>;
  /** Replaces the entry and its history; false when the revision has changed. */
  put(tenant: string, text: string, revision: number): Promise<boolean>;
  parse(text: string): KeyEntry;
};

export type KeyIssuer = {
  /** The tenant's entry, made when there is none. Any number of these at once make one key. */
  make(tenant: string): Promise<KeyEntry>;
  /** A new version after `fromVersion` (0: after the newest); the newest version afterwards. */
  rotate(tenant: string, fromVersion: number): Promise<number>;
  /** The root that wraps now. */
  newestRoot(): Promise<string>;
  /** Wraps the versions of a tenant that need another root than this; how many. */
  rewrap(tenant: string, newestRoot: string): Promise<number>;
  /** Failure `rejected` "tenant-protected" for the platform's own keys. */
  erase(tenant: string, at: Date): Promise<number>;
};

const tenantMax = 32;
const triesMax = 10;
/** One entry holds all versions, and a message has its size. */
const versionsMax = 1_000;
const platform = "platform";

export type KeyIssuerParts = {
  readonly rows: KeyRows;
  readonly shelf: KeyShelf;
  readonly roots: RootKeys;
  readonly random: Random;
};

/** Makes keys, and brings what is stored and what is handed out to agree. */
function entryMaker({ rows, shelf, roots, random }: KeyIssuerParts) {
  async function newKey(tenant: string, version: number): Promise<WrappedKey> {
    const key = new Secret(random(keyBytes));
    const box = await roots.wrap(key, wrapContext(tenant, version));
    key.reveal().fill(0);
    return { version, ...box };
  }

  /** Puts into the rows what only the directory still knows, say after the rows came from a backup. */
  async function adopt(tenant: string, stored: KeyEntry | undefined, entry: KeyEntry) {
    if (entry.state === "erased") {
      if (stored?.state !== "erased") await rows.erase(tenant, entry.erasedAt);
      return;
    }
    const known = stored?.state === "alive" ? stored.keys.map(({ version }) => version) : [];
    for (const key of entry.keys) if (!known.includes(key.version)) await rows.add(tenant, key);
  }

  function readEntry(text: string | undefined): KeyEntry | undefined {
    try {
      return text === undefined ? undefined : shelf.parse(text);
    } catch {
      // Not ours: the rows say what belongs there.
      return undefined;
    }
  }

  async function make(tenant: string): Promise<KeyEntry> {
    if (!isId(tenant) || tenant.length > tenantMax) {
      throw invalid([{ field: "tenant", description: "must be a tenant's id" }]);
    }
    for (let tries = 1; tries <= triesMax; tries += 1) {
      // In this order: who writes behind this revision has seen all that it says.
      const { text, revision } = await shelf.read(tenant);
      const handedOut = readEntry(text);
      const stored = await rows.find(tenant);
      const known = reconciled(stored, handedOut);
      if (known) await adopt(tenant, stored, known);
      else await rows.add(tenant, await newKey(tenant, 1));
      const entry = known ?? (await rows.find(tenant));
      if (!entry) throw permanent("key-missing", `the key of tenant ${tenant} was not stored`);
      const wanted = entryText(entry);
      if (wanted === text || (await shelf.put(tenant, wanted, revision))) return entry;
    }
    throw transient("tenant-key-unavailable", `the keys of ${tenant} change all the time`);
  }

  return { newKey, make };
}

export function keyIssuer(parts: KeyIssuerParts): KeyIssuer {
  const { rows, roots, random } = parts;
  const { newKey, make } = entryMaker(parts);

  async function alive(tenant: string): Promise<readonly WrappedKey[]> {
    const entry = await make(tenant);
    if (entry.state === "alive") return entry.keys;
    throw permanent("tenant-erased", `the keys of tenant ${tenant} were destroyed`);
  }

  return {
    make,
    async newestRoot() {
      // Asked by wrapping: a root that cannot wrap is none to move to.
      const probe = new Secret(random(keyBytes));
      return (await roots.wrap(probe, ["probe"])).rootId;
    },
    async rotate(tenant, fromVersion) {
      const keys = await alive(tenant);
      const newest = newestOf(keys);
      if (fromVersion !== 0 && newest > fromVersion) return newest;
      if (keys.length >= versionsMax) {
        throw rejected("too-many-keys", `tenant ${tenant} has ${keys.length} keys already`);
      }
      await rows.add(tenant, await newKey(tenant, newest + 1));
      return newestOf(await alive(tenant));
    },
    async rewrap(tenant, newestRoot) {
      const entry = await make(tenant);
      if (entry.state === "erased") return 0;
      const due = entry.keys.filter(({ rootId }) => rootId !== newestRoot);
      for (const { version, ...box } of due) {
        const context = wrapContext(tenant, version);
        const key = await roots.unwrap(box, context);
        await rows.rewrap(tenant, box.rootId, { version, ...(await roots.wrap(key, context)) });
        key.reveal().fill(0);
      }
      // Handed out again, now with the new wrapping.
      if (due.length > 0) await make(tenant);
      return due.length;
    },
    async erase(tenant, at) {
      if (tenant === platform) {
        throw rejected("tenant-protected", "the platform's own keys seal what all tenants need");
      }
      await make(tenant);
      const destroyed = await rows.erase(tenant, at);
      await make(tenant);
      return destroyed;
    },
  };
}
