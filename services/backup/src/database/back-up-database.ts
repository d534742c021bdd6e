/**
 * `backup.database`: one of the control plane's own databases, dumped, compressed, encrypted, stored, read back and
 * restored as a proof; the manifest comes last. Without a source it starts one such job for every source.
 */
import { DatabaseBackupInput } from "@chom/proto/chom/backup/v1/database_events";
import { hashId } from "@chom/shared/aggregate/id";
import { failureOf } from "@chom/shared/failure/failure";
import { endsOf, nextLook } from "@chom/shared/job/fan-out";
import { type Job, job } from "@chom/shared/job/job";
import type { Run } from "@chom/shared/job/run";
import type { App } from "@chom/shared/service/app";
import { type DatabaseTaken, databaseBackups, platform } from "./database-backups.ts";
import { type DatabaseDeps, folderOf, vaultAt } from "./database-deps.ts";
import { findSource } from "./database-sources.ts";
import { readBack, storeDatabaseManifest, storeDump, testRestore } from "./store-dump.ts";

type DatabaseRun = Run<typeof databaseBackups>;
type Starter = Pick<App, "log" | "sealer" | "dispatch">;

/** Nobody knows how large a database is before it is read: the slowest line that is put up with does a day. */
const longestMs = 6 * 3_600_000;

/** Throws `not-permitted` for another tenant, `key-missing` for a plain backup in production. */
export function checkWish(
  { isProduction }: Pick<DatabaseDeps, "isProduction">,
  tenant: string,
  { plain }: Pick<DatabaseBackupInput, "plain">,
): void {
  if (tenant !== platform) {
    throw failureOf("not-permitted", "only the platform backs up the control plane's databases");
  }
  if (plain && isProduction) {
    throw failureOf(
      "invalid-config",
      "in production backups are encrypted: leave --no-encrypt out",
    );
  }
}

export const backUpDatabase = (deps: DatabaseDeps, app: Starter) => {
  const made: Job<typeof databaseBackups, DatabaseBackupInput, DatabaseTaken> = job(
    databaseBackups,
    {
      name: "backup.database",
      input: DatabaseBackupInput,
      of: ({ source }) => source || "all",
      started: "begin",
      done: "complete",
      failed: "fail",
      cancelled: "abandon",
      queue: "default",
      tries: 3,
      timeoutMs: longestMs,
      backoffMs: [120_000],
      exclusive: ({ source }) => [`database.${source || "all"}`],
      async work(input, run) {
        checkWish(deps, run.tenant, input);
        if (deps.sources.length === 0) return run.skip("CHOM_DATABASES names no database");
        if (input.source !== "") return { taken: await takeOne(deps, input, run) };
        return startAll(deps, input, {
          run,
          start: (command) => app.dispatch({ ...command, job: made }),
          app,
        });
      },
    },
  );
  return made;
};

type Fan = {
  run: DatabaseRun;
  app: Starter;
  start: (command: Omit<Parameters<App["dispatch"]>[0], "job">) => Promise<unknown>;
};

/** One job a source, and an end only when all of them have ended. Throws `jobs-failed` naming those that failed. */
async function startAll(
  { sources }: DatabaseDeps,
  input: DatabaseBackupInput,
  { run, app, start }: Fan,
) {
  const { tenant, actor } = run;
  const children = sources.map(({ name }) => ({
    ...{ tenant, name },
    jobId: hashId("backup.database", run.id, run.generation, name),
  }));
  const begunAt = await run.step("start a job for every database", async () => {
    for (const { jobId, name } of children) {
      const more = { tenant, actor, causationId: run.id };
      await start({ ...more, jobId, input: { ...input, source: name, runId: run.id } });
    }
    return run.now();
  });
  const ends = await endsOf(app, "backup", children);
  const open = ends.filter(({ end }) => end === "open").length;
  const failed = ends.filter(({ end }) => end === "failed");
  const all = children.length;
  run.progress(Math.round((100 * (all - open)) / all), `${all - open} of ${all} databases`);
  if (open > 0) {
    const reason = `${open} of ${all} databases are being backed up`;
    return run.defer(nextLook(begunAt, run.now()), reason, "waiting-for-jobs");
  }
  if (failed.length === 0) return { taken: null };
  const names = failed.map(({ jobId, code }) => {
    const child = children.find((each) => each.jobId === jobId);
    return `${child?.name} (${code})`;
  });
  throw failureOf(
    "jobs-failed",
    `${failed.length} of ${all} databases failed: ${names.join(", ")}`,
  );
}

async function takeOne(
  deps: DatabaseDeps,
  input: DatabaseBackupInput,
  run: DatabaseRun,
): Promise<NonNullable<DatabaseTaken["taken"]>> {
  const source = findSource(deps.sources, input.source);
  const isEncrypted = !input.plain;
  const location = input.localOnly ? ("local" as const) : ("vault" as const);
  const sealed = { isEncrypted, location };
  const vault = vaultAt(deps, location);
  const backupFolder = folderOf(source.name, run.id);
  const folder = `${backupFolder}${run.fence}/`;
  const dump = await run.step(
    "dump the database",
    (signal) => storeDump(deps, source, { ...sealed, folder, takenAt: run.now(), signal }),
    {
      check: async ({ key, storedBytes }) => (await vault.head(key))?.sizeBytes === storedBytes,
      undo: ({ key }) => vault.delete(key),
    },
  );
  run.progress(50, "the dump is stored");
  const restoreTested =
    !input.untested &&
    (await run.step("read it back and restore it for a test", async (signal) => {
      await readBack(deps, dump, sealed, signal);
      return testRestore(deps, source, dump, { ...sealed, runId: run.id, signal });
    }));
  run.progress(90, restoreTested ? "a test restore gave every row" : "the dump is whole");
  const { engine } = source.place;
  const manifest = await run.step("sign the manifest", async (signal) => {
    const { takenAt: createdAt, ...stored } = dump;
    const facts = { ...stored, engine, restoreTested, isEncrypted, createdAt };
    const signed = await storeDatabaseManifest(
      deps,
      {
        ...facts,
        format: 1,
        backupId: run.id,
        source: source.name,
        database: source.place.database,
        recipients: isEncrypted ? [...deps.keys.recipients] : [],
        finishedAt: run.now().toISOString(),
      },
      { location, folder, signal },
    );
    const kept = [dump.key, signed.key];
    // Only tidiness: what dead attempts left goes with the backup's own end otherwise.
    for (const { key } of await vault.list(backupFolder).catch(() => [])) {
      if (!kept.includes(key)) await vault.delete(key).catch(() => {});
    }
    return signed;
  });
  const { takenAt: _, tool: __, ...stored } = dump;
  const proof = { manifestKey: manifest.key, manifestSha256: manifest.sha256, restoreTested };
  return { ...stored, ...sealed, ...proof, engine };
}
