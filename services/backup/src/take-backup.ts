/** Taking one recovery point: database first, then files, each streamed into the vault, and the signed manifest last. */
import { Readable } from "node:stream";
import { createHash } from "node:crypto";
import { BackupKind } from "@chom/proto/chom/backup/v1/backup";
import type { CreateBackupInput } from "@chom/proto/chom/backup/v1/events";
import { failureOf } from "@chom/shared/failure/failure";
import type { Run } from "@chom/shared/job/run";
import { type Archived, type ArchiveName, storeArchive } from "./archive.ts";
import type { BackupKeys } from "./backup-keys.ts";
import type { backups, Taken } from "./backups.ts";
import { type Component, type Manifest, signManifest, type TableRows } from "./manifest.ts";
import { archiveFiles, dumpDatabase, measureSite } from "./scripts.ts";
import type { Vault } from "./vault.ts";

export type BackupDeps = { vault: Vault; keys: BackupKeys };

const fileNames: Readonly<Record<ArchiveName, string>> = {
  files: "files.tar.zst.age",
  database: "database.sql.zst.age",
};
const kindNames: Readonly<Record<string, Manifest["kind"]>> = {
  [BackupKind.FULL]: "full",
  [BackupKind.FILES]: "files",
  [BackupKind.DATABASE]: "database",
};
/** What compresses badly still fits; small sites do not get huge parts. */
const spare = 1.1;

/** Everything of one point lies below this key. */
const pointFolder = (tenant: string, siteId: string, backupId: string): string =>
  `${tenant}/${siteId}/${backupId}/`;

/**
 * Takes the point as steps of `run`; `label` begins their names. Every attempt writes under keys of its own, so that
 * a half-written object is never taken for one of this attempt. Throws `dump-incomplete` when dump and database differ.
 */
export async function takeBackup(
  run: Run<typeof backups>,
  deps: BackupDeps,
  input: CreateBackupInput,
  label = "",
): Promise<Taken> {
  const kind = kindNames[input.kind];
  if (!kind) throw failureOf("unsupported-type", "a backup of an unknown kind");
  const { serverId, databaseName } = input;
  if (kind === "database" && databaseName === "") {
    throw failureOf("invalid-config", "the site has no database to back up");
  }
  const taking: Taking = { run, deps, input, label };
  const measured = await run.script(`${label}measure the site`, measureSite, serverId, input);
  const parts: Part[] = [];
  if (kind !== "files" && databaseName !== "") {
    parts.push(await takeDatabase(taking, measured.databaseBytes));
  }
  run.progress(40, "database stored");
  if (kind !== "database") parts.push(await takeFiles(taking, measured.filesBytes));
  run.progress(90, "archives stored");
  const components = parts.map(({ component }) => component);
  const tools: Record<string, string> = Object.assign({}, ...parts.map((part) => part.tools));
  const gapMs = gapOf(components);
  const signed = await run.step(`${label}sign the manifest`, (signal) =>
    storeManifest(taking, { kind, components, tools, gapMs }, signal),
  );
  const sum = (of: (component: Component) => number) =>
    components.reduce((total, component) => total + of(component), 0);
  const entriesOf = (name: ArchiveName) => sum((one) => (one.name === name ? one.entries : 0));
  return {
    sizeBytes: sum(({ plainBytes }) => plainBytes),
    storedBytes: sum(({ storedBytes }) => storedBytes),
    filesCount: entriesOf("files"),
    tablesCount: entriesOf("database"),
    manifestKey: signed.key,
    manifestSha256: signed.sha256,
    gapMs,
  };
}

type Taking = {
  run: Run<typeof backups>;
  deps: BackupDeps;
  input: CreateBackupInput;
  label: string;
};
type Part = { component: Component; tools: Record<string, string> };

const folderOf = ({ run, input }: Taking): string =>
  pointFolder(run.tenant, input.siteId, input.backupId);

async function takeDatabase(taking: Taking, estimatedBytes: number): Promise<Part> {
  const { run, input, label } = taking;
  const dump = await run.transfer(
    `${label}dump the database`,
    dumpDatabase,
    input.serverId,
    input,
    storing(taking, "database", estimatedBytes),
    stillThere(taking),
  );
  const { tool, engine, consistent, liveTables } = dump.output;
  compareTables(dump.received.tables, liveTables);
  const tools = { dump: tool, database: engine, consistent: consistent ? "yes" : "no" };
  return { component: dump.received, tools };
}

async function takeFiles(taking: Taking, estimatedBytes: number): Promise<Part> {
  const { run, input, label } = taking;
  const tar = await run.transfer(
    `${label}archive the files`,
    archiveFiles,
    input.serverId,
    input,
    storing(taking, "files", estimatedBytes),
    stillThere(taking),
  );
  const { tarVersion, changed } = tar.output;
  return {
    component: tar.received,
    tools: { tar: tarVersion, changedWhileRead: changed ? "yes" : "no" },
  };
}

/** What the server sends goes straight into the vault. */
const storing = (taking: Taking, name: ArchiveName, estimatedBytes: number) => ({
  download: async (source: Readable, signal: AbortSignal) => {
    const { run, deps } = taking;
    const takenAt = run.now().toISOString();
    const key = `${folderOf(taking)}${run.fence}/${fileNames[name]}`;
    const size = estimatedBytes * spare;
    const archived = await storeArchive({
      ...deps,
      name,
      key,
      source,
      estimatedBytes: size,
      signal,
    });
    return { ...archived, name, takenAt };
  },
});

/** A remembered archive counts only while it is still there. */
const stillThere = ({ deps }: Taking) => ({
  check: async ({ received }: { received: Archived }) =>
    (await deps.vault.head(received.key))?.sizeBytes === received.storedBytes,
});

async function storeManifest(
  taking: Taking,
  content: Pick<Manifest, "kind" | "components" | "tools" | "gapMs">,
  signal: AbortSignal,
): Promise<{ key: string; sha256: string }> {
  const { run, input, deps } = taking;
  const { backupId, siteId, domain, siteKind, phpVersion, systemUser, rootPath } = input;
  const finishedAt = run.now().toISOString();
  const manifest: Manifest = {
    ...content,
    format: 1,
    backupId,
    tenant: run.tenant,
    siteId,
    createdAt: content.components[0]?.takenAt ?? finishedAt,
    finishedAt,
    recipients: [...deps.keys.recipients],
    site: {
      domain,
      kind: siteKind,
      phpVersion,
      systemUser,
      rootPath,
      databaseName: input.databaseName,
    },
  };
  const bytes = signManifest(manifest, deps.keys.signingKeys[0]);
  const folder = folderOf(taking);
  const key = `${folder}${run.fence}/manifest.json`;
  await deps.vault.put(key, Readable.from([bytes]), { estimatedBytes: bytes.length, signal });
  const kept = [key, ...content.components.map((component) => component.key)];
  await dropStrays(deps.vault, folder, kept);
  return { key, sha256: createHash("sha256").update(bytes).digest("hex") };
}

function gapOf(components: readonly Component[]): number {
  const times = components.map(({ takenAt }) => Date.parse(takenAt));
  return times.length < 2 ? 0 : Math.max(...times) - Math.min(...times);
}

/** Rows may come and go while a site lives; a table that is missing or lost all its rows may not. */
function compareTables(dumped: readonly TableRows[], live: readonly TableRows[]): void {
  const rowsOf = new Map(dumped.map(({ name, rows }) => [name, rows]));
  const missing = live.filter(({ name }) => !rowsOf.has(name));
  const emptied = live.filter(({ name, rows }) => rows > 0 && rowsOf.get(name) === 0);
  if (missing.length + emptied.length === 0 && dumped.length === live.length) return;
  const what = `${missing.length} tables are missing, ${emptied.length} lost their rows`;
  throw failureOf("dump-incomplete", `${what}, ${dumped.length} dumped of ${live.length}`);
}

/** Removes what earlier attempts of the same point left. Only tidiness: a failure here is for the next expiry to mend. */
async function dropStrays(vault: Vault, folder: string, kept: readonly string[]): Promise<void> {
  for (const { key } of await vault.list(folder).catch(() => [])) {
    if (!kept.includes(key)) await vault.delete(key).catch(() => {});
  }
}
