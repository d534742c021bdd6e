/** The manifest of a database backup: what it is of, what it holds, and a signature over it. Written last. */
import type { KeyObject } from "node:crypto";
import { failureOf } from "@chom/shared/failure/failure";
import type { StoredStream } from "../archive.ts";
import { signDocument, verifyDocument } from "../manifest.ts";
import type { Engine } from "./database-sources.ts";
import type { Counted } from "./database-tools.ts";

export type DatabaseManifest = StoredStream &
  Counted & {
    format: 1;
    backupId: string;
    source: string;
    engine: Engine;
    /** Name of the database (SQLite: path of the file) it was taken from. */
    database: string;
    tool: string;
    /** True when a restore into a scratch database gave the same tables and rows. */
    restoreTested: boolean;
    isEncrypted: boolean;
    /** Who can open it, as age recipients. */
    recipients: string[];
    createdAt: string;
    finishedAt: string;
  };

const purpose = "chom database backup manifest v1\n";

/** As it is stored. */
export const signDatabaseManifest = (manifest: DatabaseManifest, key: KeyObject): Buffer =>
  signDocument(purpose, manifest, key);

/** Throws `manifest-invalid`, and `foreign-manifest` when it is of another source or backup. */
export function verifyDatabaseManifest(
  bytes: Buffer,
  keys: readonly KeyObject[],
  owner: { source: string; backupId: string },
): DatabaseManifest {
  const claimed = verifyDocument(purpose, bytes, keys) as DatabaseManifest;
  for (const name of ["source", "backupId"] as const) {
    if (claimed[name] !== owner[name]) {
      throw failureOf("foreign-manifest", `the manifest belongs to another ${name}`);
    }
  }
  return claimed;
}
