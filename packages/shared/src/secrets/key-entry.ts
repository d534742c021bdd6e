/** A tenant's wrapped keys as they are handed out: one small JSON text per tenant, or the mark that they are destroyed. */
import { permanent } from "../failure/failure.ts";
import type { Wrapped } from "./root-keys.ts";

export type WrappedKey = Wrapped & { readonly version: number };

export type KeyEntry =
  | { readonly state: "alive"; readonly keys: readonly WrappedKey[] }
  | { readonly state: "erased"; readonly erasedAt: Date };

/** What a wrapped key is bound to: another tenant's or version's does not open. */
export const wrapContext = (tenant: string, version: number): readonly string[] => [
  "tenant-key",
  tenant,
  String(version),
];

/** The version that seals: the newest. */
export const newestOf = (keys: readonly WrappedKey[]): number =>
  Math.max(0, ...keys.map(({ version }) => version));

export function entryText(entry: KeyEntry): string {
  if (entry.state === "erased") {
    return JSON.stringify({ v: 1, erasedAt: entry.erasedAt.toISOString() });
  }
  const keys = entry.keys.map(({ version, rootId, wrapped }) => ({
    ...{ version, root: rootId },
    wrapped: wrapped.toString("base64"),
  }));
  return JSON.stringify({ v: 1, keys });
}

const broken = () => permanent("entry-undecodable", "an entry of the tenant keys cannot be read");

type Written = {
  readonly v?: unknown;
  readonly erasedAt?: string;
  readonly keys?: readonly { version: number; root: string; wrapped: string }[];
};

/** Failure `permanent` "entry-undecodable" for what credentials never wrote. */
export function entryOfText(text: string): KeyEntry {
  let found: Written;
  try {
    found = JSON.parse(text) as Written;
  } catch {
    throw broken();
  }
  if (found.v !== 1) throw broken();
  if (found.erasedAt !== undefined) {
    return { state: "erased", erasedAt: new Date(found.erasedAt) };
  }
  if (!Array.isArray(found.keys) || found.keys.length === 0) throw broken();
  const keys = found.keys.map(({ version, root, wrapped }) => {
    if (!Number.isSafeInteger(version) || version < 1) throw broken();
    return { version, rootId: String(root), wrapped: Buffer.from(String(wrapped), "base64") };
  });
  return { state: "alive", keys };
}

/**
 * What is true when the store of credentials and the directory differ, say after a restored backup: erased stays
 * erased, and no version is forgotten. Of one version the store's wrapping counts, since re-wrapping begins there.
 */
export function reconciled(
  stored: KeyEntry | undefined,
  handedOut: KeyEntry | undefined,
): KeyEntry | undefined {
  if (!stored || !handedOut) return stored ?? handedOut;
  if (stored.state === "erased") return stored;
  if (handedOut.state === "erased") return handedOut;
  const known = new Set(stored.keys.map(({ version }) => version));
  const lost = handedOut.keys.filter(({ version }) => !known.has(version));
  const keys = [...stored.keys, ...lost].toSorted((a, b) => a.version - b.version);
  return { state: "alive", keys };
}
