/**
 * `backup.restore`: brings a site back from a point, as a transaction. What the site is now is saved first, the point is
 * proven and unpacked beside the site, and only then both change places; whatever fails after that puts it back.
 */
import { BackupKind } from "@chom/proto/chom/backup/v1/backup";
import { type CreateBackupInput, RestoreBackupInput } from "@chom/proto/chom/backup/v1/events";
import { hashId } from "@chom/shared/aggregate/id";
import { classify, failureOf } from "@chom/shared/failure/failure";
import { job } from "@chom/shared/job/job";
import type { Run } from "@chom/shared/job/run";
import { checkArchive, openArchive } from "./archive.ts";
import { backups, type Restored } from "./backups.ts";
import { timeoutFor } from "./create-backup.ts";
import { rewriteDump } from "./dump-rewrite.ts";
import type { Component, Manifest, TableRows } from "./manifest.ts";
import { findPoint, type PointDeps, readManifest } from "./read-point.ts";
import {
  closeSite,
  discardStaging,
  measureSite,
  prepareStaging,
  smokeTest,
  stageDatabase,
  stageFiles,
  type Staging,
  swapBack,
  swapIn,
} from "./scripts.ts";
import { takeBackup } from "./take-backup.ts";

type RestoreRun = Run<typeof backups>;

/** Room beside what is unpacked, for the database's own overhead and the site's life meanwhile. */
const spare = 1.2;
const safetyDays = 7;
const dayMs = 86_400_000;

export const restoreBackup = (deps: PointDeps) =>
  job(backups, {
    name: "backup.restore",
    input: RestoreBackupInput,
    of: ({ siteId }) => siteId,
    site: ({ siteId }) => siteId,
    server: ({ serverId }) => serverId,
    started: "beginRestore",
    done: "completeRestore",
    failed: "failRestore",
    cancelled: "abandonRestore",
    queue: "default",
    tries: 2,
    // The point is read twice and the site once.
    timeoutMs: ({ estimatedBytes }) => 3 * timeoutFor(estimatedBytes),
    backoffMs: [60_000],
    exclusive: ({ siteId }) => [`site.${siteId}`],
    circuit: ({ serverId }) => serverId,

    async work(input, run): Promise<Restored> {
      const { serverId, siteId, backupId, restoreId } = input;
      const manifest = await run.step("read the manifest", async (signal) => {
        const id = { tenant: run.tenant, siteId, backupId };
        return readManifest(deps, id, await findPoint(deps.load, id), signal);
      });
      const staging = stagingOf(input, manifest);
      const neededBytes = await checkRoom(run, input, manifest);
      for (const component of manifest.components) {
        await run.step(`check the ${component.name}`, (signal) =>
          checkArchive({ ...deps, component, signal }),
        );
      }
      run.progress(30, "the backup is whole");
      const safetyBackupId = await takeSafetyPoint(run, deps, input);

      await run.script(
        "prepare staging",
        prepareStaging,
        serverId,
        { ...staging, neededBytes },
        {
          undo: async (_, undoing) => {
            await undoing.script(discardStaging, serverId, { ...staging, isConfirmed: false });
          },
        },
      );
      for (const component of manifest.components) {
        await stage(run, deps, { component, staging, serverId });
      }
      run.progress(70, "unpacked beside the site");

      await run.record("say that the site is touched", "touch", {
        restoreId,
        backupId,
        siteId,
        jobId: run.id,
      });
      await run.script("close the site", closeSite, serverId, staging, {
        // Registered before anything moves, so that it also mends a swap that broke in the middle.
        undo: async (_, undoing) => {
          await undoing.script(swapBack, serverId, staging);
        },
      });
      await run.script("swap in", swapIn, serverId, staging);
      const visited = { ...staging, domain: input.domain };
      await run.script("smoke test", smokeTest, serverId, visited);
      // From here on it is restored. What is left to clear must never be a reason to swap back.
      await run.step("confirm", async () => {});
      await clear(run, serverId, staging);
      return {
        safetyBackupId,
        filesCount: entriesOf(manifest, "files"),
        tablesCount: entriesOf(manifest, "database"),
      };
    },
  });

const componentOf = (manifest: Manifest, name: Component["name"]): Component | undefined =>
  manifest.components.find((component) => component.name === name);
const entriesOf = (manifest: Manifest, name: Component["name"]): number =>
  componentOf(manifest, name)?.entries ?? 0;

function stagingOf(input: RestoreBackupInput, manifest: Manifest): Staging {
  const { systemUser, rootPath, databaseName, restoreId, phpVersion } = input;
  const hasFiles = componentOf(manifest, "files") !== undefined;
  const hasDatabase = componentOf(manifest, "database") !== undefined;
  if (hasDatabase && databaseName === "") {
    throw failureOf("incompatible-engine", "the backup has a database and the site has none");
  }
  return { systemUser, rootPath, databaseName, restoreId, phpVersion, hasFiles, hasDatabase };
}

/** Answers how many bytes the files need; throws `no-space-for-restore` before anything was written. */
async function checkRoom(
  run: RestoreRun,
  input: RestoreBackupInput,
  manifest: Manifest,
): Promise<number> {
  const room = await run.script("measure the site", measureSite, input.serverId, input);
  const needed = (name: Component["name"]) =>
    Math.ceil((componentOf(manifest, name)?.plainBytes ?? 0) * spare);
  const lacks = [
    needed("files") > room.freeBytes ? `files need ${needed("files")} bytes` : "",
    needed("database") > room.databaseFreeBytes ? `tables need ${needed("database")} bytes` : "",
  ].filter((lack) => lack !== "");
  if (lacks.length > 0) throw failureOf("no-space-for-restore", lacks.join(", "));
  return needed("files");
}

/** Saves the site as it is; answers the point's id, empty when the request accepted to go on without. */
async function takeSafetyPoint(
  run: RestoreRun,
  deps: PointDeps,
  input: RestoreBackupInput,
): Promise<string> {
  const backupId = hashId(input.restoreId, "safety");
  const { siteId, serverId, domain, systemUser, rootPath, databaseName } = input;
  const { siteKind, phpVersion, estimatedBytes } = input;
  const keepUntil = await run.step(
    "choose how long",
    async () => run.now().getTime() + safetyDays * dayMs,
  );
  const safety: CreateBackupInput = {
    backupId,
    siteId,
    serverId,
    kind: BackupKind.FULL,
    domain,
    systemUser,
    rootPath,
    databaseName,
    keepUntil: new Date(keepUntil),
    safetyPoint: true,
    siteKind,
    phpVersion,
    estimatedBytes,
  };
  const facts = { input: safety, jobId: run.id, tenant: run.tenant, actor: run.actor };
  const at = new Date(keepUntil - safetyDays * dayMs);
  await run.record("safety: open", "openSafety", { ...facts, at });
  try {
    const result = await takeBackup(run, deps, safety, "safety: ");
    const durationMs = Math.max(0, run.now().getTime() - at.getTime());
    await run.record("safety: complete", "completeSafety", { ...facts, at, result, durationMs });
    return backupId;
  } catch (error) {
    const failure = classify(error);
    const mayPass = failure.kind === "transient" || failure.kind === "unknown" || failure.wait;
    if (run.signal.aborted || (mayPass && !input.acceptNoSafety)) throw error;
    const { code, message } = failure;
    await run.record("safety: fail", "failSafety", { ...facts, at, code, message });
    if (input.acceptNoSafety) return "";
    throw failureOf("no-safety-point", `the site cannot be saved first: ${code}, ${message}`);
  }
}

async function stage(
  run: RestoreRun,
  deps: PointDeps,
  { component, staging, serverId }: { component: Component; staging: Staging; serverId: string },
): Promise<void> {
  if (component.name === "files") {
    const upload = (signal: AbortSignal) => openArchive({ ...deps, component, signal });
    const staged = await run.transfer("stage the files", stageFiles, serverId, staging, { upload });
    if (staged.output.entries === component.entries) return;
    throw failureOf("restore-verification-failed", "staged files differ in number");
  }
  const upload = async (signal: AbortSignal) => {
    const plain = await openArchive({ ...deps, component, signal });
    const rewritten = rewriteDump();
    plain.on("error", (error) => rewritten.destroy(error));
    return plain.pipe(rewritten);
  };
  const step = "stage the database";
  const staged = await run.transfer(step, stageDatabase, serverId, staging, { upload });
  if (isSameTables(staged.output.tables, component.tables)) return;
  throw failureOf("restore-verification-failed", "staged tables or their rows differ");
}

const isSameTables = (staged: readonly TableRows[], expected: readonly TableRows[]): boolean =>
  staged.length === expected.length &&
  staged.every(({ name, rows }, at) => expected[at]?.name === name && expected[at]?.rows === rows);

/** Lets the old state go. When that cannot be done the next restore finds it and says so. */
async function clear(run: RestoreRun, serverId: string, staging: Staging): Promise<void> {
  try {
    const input = { ...staging, isConfirmed: true };
    await run.script("clear what was before", discardStaging, serverId, input);
  } catch (error) {
    if (run.signal.aborted) throw error;
  }
}
