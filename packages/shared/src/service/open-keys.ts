/** The keys of a service: its roots, the directory it reads, and the Sealer over both. */
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import type { Nats } from "../event-log/nats.ts";
import { classify } from "../failure/failure.ts";
import { type KeyIssuer, keyIssuer, type KeyRows } from "../secrets/key-issuer.ts";
import { keyring, readPrivateFile } from "../secrets/keyring.ts";
import { randomPool } from "../secrets/random-pool.ts";
import { eitherRoots, fileRoots, type RootKeys } from "../secrets/root-keys.ts";
import { Secret } from "../secrets/secret.ts";
import type { Sealer } from "../secrets/sealer.ts";
import { tenantKeys } from "../secrets/tenant-keys.ts";
import { isTransitRoot, transitRoots } from "../secrets/transit-root.ts";
import type { Logger } from "../telemetry/logger.ts";
import type { CommonSettings, Loaded } from "./common-settings.ts";
import { keyDirectory, keyShelf, remoteMaker } from "./key-directory.ts";

/** How soon a destroyed or renewed key is noticed. */
const confirmEveryMs = 1_000;

/** The roots that the settings name. */
export function rootsOf(settings: CommonSettings, loaded: Pick<Loaded, "rootKeys">): RootKeys {
  const inFile = fileRoots(loaded.rootKeys, randomBytes);
  const { transitUrl: url, transitTokenFile, transitCaFile, transitKey: key } = settings;
  if (!url || !transitTokenFile) return inFile;
  const ca = transitCaFile && readFileSync(transitCaFile);
  const token = () => new Secret(readPrivateFile(transitTokenFile).trim());
  const kept = transitRoots({ url, key, token, ...(ca ? { ca } : {}) });
  return eitherRoots(kept, inFile, isTransitRoot);
}

type Parts = {
  readonly nats: Nats;
  readonly settings: CommonSettings;
  readonly loaded: Loaded;
  readonly logger: Logger;
  /** Of the one service that makes keys. */
  readonly rows: KeyRows | undefined;
};

export type OpenKeys = {
  readonly sealer: Sealer;
  readonly issuer: KeyIssuer | undefined;
  readonly close: () => void;
};

/** Begins to confirm held keys once a second. */
export function openKeys({ nats, settings, loaded, logger, rows }: Parts): OpenKeys {
  const roots = rootsOf(settings, loaded);
  const shelf = keyShelf(nats);
  const issuer = rows && keyIssuer({ rows, shelf, roots, random: randomBytes });
  const remote = issuer ? { make: issuer.make, close: () => {} } : remoteMaker(settings, loaded);
  const before = loaded.rootKeys.length > 0 ? keyring(loaded.rootKeys, randomBytes) : undefined;
  const keys = tenantKeys({
    ...{ directory: keyDirectory(nats, remote.make), roots, before, random: randomPool() },
    nowMs: Date.now,
    elapsedMs: () => performance.now(),
  });
  let wasAway = false;
  const confirm = async () => {
    try {
      await keys.refresh();
      wasAway = false;
    } catch (error) {
      if (!wasAway) logger.warn({ err: classify(error) }, "tenants' keys cannot be confirmed");
      wasAway = true;
    }
  };
  const timer = setInterval(() => void confirm(), confirmEveryMs);
  timer.unref();
  return {
    sealer: keys,
    issuer,
    close() {
      clearInterval(timer);
      remote.close();
    },
  };
}
